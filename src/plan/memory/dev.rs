//! dev harness
use super::architecture::*;
use super::question::*;
use super::step::*;
use super::tape::Kind;
use std::collections::BTreeMap;
/// x
pub fn run(filter: &str, verbose: bool) {
    if filter == "counts" { for a in catalogue().unwrap().all() { let c = a.counted_parameters().get(); let p = a.parameters.map_or(0, |c| c.get()); println!("{} {:20} {} {} {}", if p==0 {"?"} else if c==p {"ok"} else {"XX"}, a.name, c, p, c as i64 - p as i64); } return; }
    if filter == "pub" { published(verbose); return; }
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
        let arch = catalogue().unwrap().find(r["model"]).unwrap().clone();
        let regime = r["regime"];
        let lora = LoraSettings { rank: n("lora_rank"), targets: if r["lora_targets"]=="qv" {LoraTargets::QueryValue} else {LoraTargets::AllLinear}, in_float: r["lora_adapter"]=="fp32", dropout: r["lora_dropout"]!="0.0" };
        let task = match r["task"] { "train" => Task::Train, "inference" => Task::Scoring, "lora" => Task::Lora(lora), "qlora" => Task::Qlora(lora, if r["quant"]=="4bit_prep" {BaseFormat::Nf4DoublePrepared} else {BaseFormat::Nf4Double}), _ => Task::Inference };
        let mut q = Question::new(Subject::Architecture(Box::new(arch.clone())), task);
        q.precision = match regime { "fp32" => Precision::Fp32, "fp16" => Precision::Fp16, "bf16" if r["optimizer"]=="adamw_master" => Precision::Bf16Master, "bf16" => Precision::Bf16, "amp_fp16" => Precision::MixedFp16, "amp_bf16" => Precision::MixedBf16, _ => if r["task"]=="qlora" {Precision::MixedBf16} else {Precision::Bf16} };
        q.optimizer = match r["optimizer"] { "sgd" => Optimizer::Sgd, "sgd_momentum" => Optimizer::Momentum, "adam8bit" => Optimizer::Adam8bit, _ => Optimizer::AdamW };
        q.update = match r["optimizer"] { "adamw_fused" => Update::Fused, "adamw_loop" => Update::OneByOne, _ => Update::AllAtOnce };
        q.batch = n("batch");
        if r["family"]=="vision" { q.image_side = Some(s) } else { q.sequence = Some(s) }
        q.checkpointing = r["grad_ckpt"]=="True";
        q.attention = if r["attn"]=="eager" {AttentionKind::Eager} else {AttentionKind::Fused};
        q.padded = r["padmask"]=="True";
        q.frozen_autocast = regime == "bf16_amp";
        if r["head"]=="mlm" { q.head = Some(Head::Tokens) }
        let p = replay(&q, &arch).unwrap();
        let total = match r["task"] { "generate_decode" => p.backward.total(), "generate_prefill" => p.forward.total(), _ => p.forward.total().max(p.backward.total()).max(p.update.total()) };
        let err = (total as f64 / n("total_peak_bytes") as f64 - 1.0) * 100.0;
        groups.entry(key.clone()).or_default().push(err);
        if verbose { println!("{key} {} b{} s{} r{}{}{} do{} | err {err:.2}% par {} {} opt {} {} fwd {} {} bwd {} {} upd {} {} {} {}", r["model"], r["batch"], s, r["lora_rank"],r["lora_targets"],r["lora_adapter"],r["lora_dropout"], p.parameters, r["params"], p.update.of(Kind::Optimizer), r["optimizer_bytes"], p.forward.total(), r["peak_fwd"], p.backward.total(), r["peak_bwd"], p.update.total(), r["peak_opt"], r["peak_op"], r["optimizer"]); }
    }
    for (k, v) in &groups { let mut a: Vec<f64> = v.iter().map(|x| x.abs()).collect(); a.sort_by(f64::total_cmp); println!("{k:60} n {:3} median {:.3}% max {:.3}%", a.len(), a[a.len()/2], a[a.len()-1]); }
    let mut a: Vec<f64> = groups.values().flatten().map(|x| x.abs()).collect(); a.sort_by(f64::total_cmp);
    if !a.is_empty() { println!("ALL n {} median {:.4}% p95 {:.3}% max {:.3}%", a.len(), a[a.len()/2], a[a.len()*95/100], a[a.len()-1]); }
}

fn published(verbose: bool) {
    let text = std::fs::read_to_string("/work/wt/memory/profiles/memory/published.tsv").unwrap();
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().unwrap().split('\t').collect();
    let mut g: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in lines {
        let r: BTreeMap<&str, &str> = head.iter().copied().zip(line.split('\t')).collect();
        if r["excluded"] != "-" { continue; }
        let n = |k: &str| r[k].parse::<u64>().unwrap_or(0);
        let Ok(arch) = catalogue().unwrap().find(r["model"]) else { println!("?? {}", r["model"]); continue };
        let mut arch = arch.clone();
        let lit = r["framework"] == "litgpt";
        if lit && let Network::Transformer(t) = &mut arch.network { t.tied = false; t.written_out_activation = false; t.joint_qkv = true; }
        let lora = LoraSettings { rank: n("rank"), targets: match r["targets"] {"query-value" => LoraTargets::QueryValue, "all-linear" => LoraTargets::AllLinear, _ => LoraTargets::AllLinearAndHead}, in_float: !lit, dropout: true };
        let fmt = match r["format"] { "nf4" => Some(BaseFormat::Nf4), "nf4-double" => Some(BaseFormat::Nf4Double), "int8" => Some(BaseFormat::Int8), "gptq4" => Some(BaseFormat::Gptq4), _ => None };
        let task = match r["task"] { "lora" => Task::Lora(lora), "qlora" => Task::Qlora(lora, fmt.unwrap()), "finetune" => Task::Finetune, _ => Task::Inference };
        let mut q = Question::new(Subject::Architecture(Box::new(arch.clone())), task);
        q.precision = match r["precision"] { "fp32" => Precision::Fp32, "mixed-bf16" => Precision::MixedBf16, "mixed-fp16" => Precision::MixedFp16, _ => Precision::Bf16 };
        q.weight_format = fmt;
        q.optimizer = match r["optimizer"] { "adafactor" => Optimizer::Adafactor, "adam8bit" => Optimizer::Adam8bit, _ => Optimizer::AdamW };
        q.update = if r["update"]=="one-by-one" {Update::OneByOne} else {Update::AllAtOnce};
        q.batch = n("batch"); q.accumulation = n("accumulation"); if r["sequence"] != "-" { q.sequence = Some(n("sequence")); } q.new_tokens = n("new_tokens");
        q.checkpointing = r["checkpointing"]=="yes"; q.attention = if r["attention"]=="eager" {AttentionKind::Eager} else {AttentionKind::Fused};
        if lit { q.loss = LossKind::AsLogits; q.packed_inputs = PackedInputs::Kept; }
        q.sharding = Sharding { cards: n("cards"), strategy: match r["strategy"] {"zero3" => Strategy::Zero3, "tensor" => Strategy::Tensor, "layers" => Strategy::Layers, _ => Strategy::Replicated } };
        let part = super::sharding::part_of(&arch, q.sharding);
        let p = match replay(&q, &part) { Ok(p) => super::sharding::shard(p, q.sharding), Err(e) => { println!("{e}"); continue } };
        let total = if r["task"]=="weights" || r["measure"]=="resident" { p.update.of(Kind::Weights).max(p.forward.of(Kind::Weights)) + p.update.of(Kind::Optimizer) + p.update.of(Kind::Gradients) } else { p.forward.total().max(p.backward.total()).max(p.update.total()) };
        let total = if matches!(r["measure"], "device"|"reserved") && r["task"]!="weights" { p.reserved } else { total };
        let m = n("measured_bytes");
        let ctx = if r["measure"]=="device" { 1343<<20 } else { 0 };
        let err = ((total + ctx) as f64 / m as f64 - 1.0) * 100.0;
        let key = format!("{} {} {} {} {}", r["quality"], r["framework"], r["task"], r["measure"], r["format"]!="-");
        g.entry(key.clone()).or_default().push(err);
        let gib = |x: u64| x as f64 / 1073741824.0;
        if verbose { println!("R {:.2} A {:.2} {key:45} {:22} {:5} r{:3}{:10} {:10} b{} s{} ck {} x{}{} {:.2} meas {:.2} err {err:+.1}%  w {:.2} g {:.2} o {:.2} a {:.2} h {:.2} s {:.2} | {:.2} {:.2} {:.2}", gib(p.reserved), gib(p.allocated), r["model"], r["precision"], r["rank"], r["targets"], r["format"], q.batch, r["sequence"], q.checkpointing, q.sharding.cards, r["strategy"], gib(total+ctx), gib(m), gib(p.backward.of(Kind::Weights)), gib(p.backward.of(Kind::Gradients)), gib(p.backward.of(Kind::Optimizer)), gib(p.backward.of(Kind::Activations)), gib(p.backward.of(Kind::Head)), gib(p.backward.of(Kind::Scratch)), gib(p.forward.total()), gib(p.backward.total()), gib(p.update.total())); }
    }
    for (k, v) in &g { let mut a: Vec<f64> = v.iter().map(|x| x.abs()).collect(); a.sort_by(f64::total_cmp); let mut s = v.clone(); s.sort_by(f64::total_cmp); println!("{k:60} n {:3} median |err| {:.1}% max {:.1}% median signed {:+.1}", a.len(), a[a.len()/2], a[a.len()-1], s[s.len()/2]); }
}
