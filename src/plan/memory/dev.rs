//! dev harness
use super::architecture::*;
use super::network::*;
use super::step::*;
use super::tape::*;
use std::collections::BTreeMap;
/// x
pub fn run(filter: &str, verbose: bool) {
    let text = std::fs::read_to_string("/work/shared/data/memory/traced_memory.csv").unwrap();
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut groups: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in lines {
        let r: BTreeMap<&str, &str> = head.iter().copied().zip(line.split(',')).collect();
        let n = |k: &str| r[k].parse::<f64>().unwrap_or(0.0) as u64;
                let s = n("seq_or_img");
        let key = format!("{} {} {} {} {} {} {}", r["family"], if r["family"]=="vision" {r["model"]} else {r["head"]}, r["task"], r["regime"], r["quant"], r["attn"], if r["grad_ckpt"]=="True" {"ckpt"} else {""});
        if !line.contains(filter) && !key.contains(filter) { continue; }
        let p = if r["family"]=="vision" {
            let net = match r["model"] {
                "resnet18" => ImageNet::ResNet(ResNet{depths:vec![2,2,2,2],bottleneck:false,groups:1,width_per_group:64,classes:1000}),
                "resnet50" => ImageNet::ResNet(ResNet{depths:vec![3,4,6,3],bottleneck:true,groups:1,width_per_group:64,classes:1000}),
                "vgg16" => ImageNet::Vgg(Vgg{stages:vec![[64,2],[128,2],[256,3],[512,3],[512,3]],batch_norm:false,pool_last:true,average_to:7,hidden:vec![4096,4096],classes:1000}),
                "cnn50m" => ImageNet::Vgg(Vgg{stages:vec![[64,2],[128,2],[256,3],[512,3],[1024,5]],batch_norm:true,pool_last:false,average_to:1,hidden:vec![],classes:1000}),
                "mobilenet_v2" => ImageNet::MobileNetV2{classes:1000},
                "efficientnet_b0" => ImageNet::EfficientNet(EfficientNet{width:1.0,depth:1.0,classes:1000}),
                _ => ImageNet::Vit(Vit{layers:12,hidden:768,heads:12,intermediate:3072,patch:16,image:n("seq_or_img"),classes:1000}),
            };
            let regime = r["regime"];
            let half = matches!(regime, "bf16"|"fp16");
            let policy = Policy { weights: if half {Dtype::Half} else {Dtype::Float}, storage: Storage::Plain, rest_in_float:false, trained: Trained::Yes, adapters: None };
            let pass = ImagePass { batch: n("batch"), side: n("seq_or_img"), input: policy.weights, attention: Attention::Fused, checkpointing: r["grad_ckpt"]=="True", output: if r["task"]=="train" {Output::Loss} else {Output::Logits} };
            replay_image(&net, policy, pass, regime.contains("amp"), if regime.contains("fp16") {HalfKind::Fp16} else {HalfKind::Bf16}, n("optimizer_bytes"), n("opt_temp_bytes"))
        } else {
        let style = match r["family"] { "bert" => Style::Bert, "gpt2" => Style::Gpt2, _ => Style::Llama };
        let shape = Transformer { layers: n("layers"), hidden: n("hidden"), heads: n("heads"), kv_heads: n("kv_heads"), head_width: n("head_dim"), intermediate: n("ffn"), vocabulary: n("vocab"), gated: style==Style::Llama, tied: n("tied")==1, qkv_bias: false, positions: if style==Style::Gpt2 {1024} else {512}, segment_kinds: 2, head: if r["head"]=="cls" {Head::Classes(2)} else {Head::Tokens}, style };
        let regime = r["regime"];
        let half = matches!(regime, "bf16"|"fp16"|"bf16_amp");
        let adapters = (r["task"].ends_with("lora")).then(|| Adapters { rank: n("lora_rank"), targets: if r["lora_targets"]=="qv" {Targets::QueryValue} else {Targets::AllLinear}, dtype: if r["lora_adapter"]=="fp32" {Dtype::Float} else {Dtype::Half}, dropout: r["lora_dropout"]!="0.0" });
        let policy = Policy { weights: if half {Dtype::Half} else {Dtype::Float}, storage: if r["quant"].is_empty() {Storage::Plain} else {Storage::Packed{bytes_per_weight:0.5+1.0/64.0+1.0/4096.0}}, rest_in_float: r["quant"]=="4bit_prep", trained: if adapters.is_some() {Trained::No} else {Trained::Yes}, adapters };
        let out = match r["task"] { "train"|"lora"|"qlora" => Output::Loss, "inference" => Output::Logits, _ => Output::NextToken };
        let decode = r["task"]=="generate_decode";
        let pass = Pass { batch: n("batch"), sequence: if decode {1} else {s}, past: if decode {s} else {0}, attention: if r["attn"]=="eager" {Attention::Eager} else {Attention::Fused}, checkpointing: r["grad_ckpt"]=="True", output: out, padded: r["padmask"]=="True" };
        let autocast = regime.contains("amp");
        let ob = n("optimizer_bytes"); let ot = n("opt_temp_bytes");
        let p = replay(&shape, policy, pass, autocast, if regime.contains("fp16") {HalfKind::Fp16} else {HalfKind::Bf16}, &|_| (ob, ot)); p };
        let total = p.forward.max(p.backward).max(p.update);
        let err = (total as f64 / n("total_peak_bytes") as f64 - 1.0) * 100.0;
        groups.entry(key.clone()).or_default().push(err);
        if verbose { println!("{key} {} b{} s{} r{}{}{} do{} | err {err:.2}% par {} {} w {} {} fwd {} {} ({:+}) kept {} {} ({:+}) bwd {} {} ({:+}) opt {} {} {}", r["model"], r["batch"], s, r["lora_rank"],r["lora_targets"],r["lora_adapter"],r["lora_dropout"], p.parameters, r["params"], p.weights as i64 - n("param_bytes") as i64, r["param_bytes"], p.forward, r["peak_fwd"], p.forward as i64 - n("peak_fwd") as i64, p.kept, r["fwd_end_act_bytes"], p.kept as i64 - n("fwd_end_act_bytes") as i64, p.backward, r["peak_bwd"], p.backward as i64 - n("peak_bwd") as i64, p.update as i64 - n("peak_opt") as i64, r["peak_op"], r["padmask"]); }
    }
    for (k, v) in &groups { let mut a: Vec<f64> = v.iter().map(|x| x.abs()).collect(); a.sort_by(f64::total_cmp); println!("{k:60} n {:3} median {:.3}% max {:.3}%", a.len(), a[a.len()/2], a[a.len()-1]); }
    let mut a: Vec<f64> = groups.values().flatten().map(|x| x.abs()).collect(); a.sort_by(f64::total_cmp);
    if !a.is_empty() { println!("ALL n {} median {:.3}% p95 {:.3}% max {:.3}%", a.len(), a[a.len()/2], a[a.len()*95/100], a[a.len()-1]); }
}
