//! Hugging Face `config.json` files.

use super::hf_families as families;
use super::{Architecture, Network};
use crate::error::{Error, Result};
use serde_json::{Map, Value};

/// Reads the `config.json` of a Hugging Face model; `name` is what the answer
/// calls it.
///
/// Known model types are read by their own keys and defaults (those of
/// `transformers`' configuration classes). An unknown type is read like Llama
/// when it has Llama's keys, and the source says so.
///
/// # Errors
/// Text that is not JSON; missing or impossible keys, each named.
pub fn from_config_json(name: &str, text: &str) -> Result<Architecture> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| Error::bad_input(format!("the config of {name} is not JSON: {error}")))?;
    let Value::Object(map) = value else {
        return Err(Error::bad_input(format!(
            "the config of {name} is not a JSON object"
        )));
    };
    // Models of text and images keep the text part's settings one level down.
    let map = match map.get("text_config") {
        Some(Value::Object(inner)) if !map.contains_key("hidden_size") => inner.clone(),
        _ => map,
    };
    let config = Config { name, map };
    let kind = config.text("model_type").unwrap_or("").to_owned();
    let (network, note) = match families::read(&kind, &config) {
        Some(network) => (network?, String::new()),
        None => (
            families::generic(&config)?,
            format!(", model type `{kind}` is not known here and was read like Llama"),
        ),
    };
    if let Network::Transformer(transformer) = &network {
        config.check(transformer)?;
    }
    Ok(Architecture {
        name: name.to_owned(),
        aliases: Vec::new(),
        parameters: None,
        source: format!("config.json{note}"),
        network,
    })
}

/// The keys of a config, with errors that name them.
pub(super) struct Config<'a> {
    name: &'a str,
    map: Map<String, Value>,
}

impl Config<'_> {
    /// A text, if it is there.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.map.get(key).and_then(Value::as_str)
    }

    /// A switch.
    pub(super) fn switch(&self, key: &str, default: Default) -> bool {
        self.map
            .get(key)
            .and_then(Value::as_bool)
            .unwrap_or(default == Default::On)
    }

    /// A number under one of several keys, if it is there (`null` is not).
    pub(super) fn number(&self, keys: &[&str]) -> Result<Option<u64>> {
        for key in keys {
            match self.map.get(*key) {
                None | Some(Value::Null) => {}
                Some(value) => {
                    return match value.as_u64() {
                        Some(number) => Ok(Some(number)),
                        None => Err(Error::bad_input(format!(
                            "the config of {}: `{key}` is {value}, not a whole number",
                            self.name
                        ))),
                    };
                }
            }
        }
        Ok(None)
    }

    /// Numbers that must be there, under one of several keys each; every missing
    /// one is named.
    pub(super) fn required<const N: usize>(&self, wanted: [&[&str]; N]) -> Result<[u64; N]> {
        let mut found = [0; N];
        let mut missing: Vec<&str> = Vec::new();
        for (slot, keys) in found.iter_mut().zip(wanted) {
            match self.number(keys)? {
                Some(number) => *slot = number,
                None => missing.extend(keys.first().copied()),
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let missing: Vec<String> = missing.iter().map(|key| format!("`{key}`")).collect();
        Err(Error::bad_input(format!(
            "the config of {} lacks {}",
            self.name,
            missing.join(", ")
        ))
        .hint("give the model's own `config.json`, not that of an adapter or tokenizer"))
    }

    /// Number of classes that the config lists.
    pub(super) fn classes(&self) -> Option<u64> {
        let listed = self.map.get("id2label").and_then(Value::as_object);
        listed.map(|labels| labels.len() as u64)
    }

    /// Refuses sizes that no network has.
    fn check(&self, t: &super::Transformer) -> Result<()> {
        let limits = [
            ("layers", t.layers, 1, 10_000),
            ("hidden size", t.hidden, 1, 1 << 20),
            ("attention heads", t.heads, 1, 1 << 16),
            ("KV heads", t.kv_heads, 1, 1 << 16),
            ("head width", t.head_width, 1, 1 << 16),
            ("intermediate size", t.intermediate, 1, 1 << 24),
            ("vocabulary", t.vocabulary, 1, 1 << 27),
        ];
        for (what, value, least, most) in limits {
            if value < least || value > most {
                return Err(Error::bad_input(format!(
                    "the config of {}: {what} cannot be {value}",
                    self.name
                )));
            }
        }
        if !t.heads.is_multiple_of(t.kv_heads) {
            return Err(Error::bad_input(format!(
                "the config of {}: {} attention heads cannot share {} KV heads",
                self.name, t.heads, t.kv_heads
            )));
        }
        Ok(())
    }
}

/// What a switch is when it is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Default {
    /// On.
    On,
    /// Off.
    Off,
}

#[cfg(test)]
mod tests {
    use super::super::catalogue;
    use super::*;

    fn read(text: &str) -> Result<Architecture> {
        from_config_json("test", text)
    }

    /// A config and the catalogue's architecture must describe the same network.
    fn same_as(name: &str, text: &str) {
        let read = read(text).unwrap();
        let known = catalogue().unwrap().find(name).unwrap();
        assert_eq!(read.network, known.network, "{name}");
    }

    #[test]
    fn configs_of_known_models_give_the_shapes_of_the_catalogue() {
        same_as(
            "llama-3-8b",
            r#"{"model_type":"llama","hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,"vocab_size":128256,"tie_word_embeddings":false}"#,
        );
        same_as(
            "mistral-7b",
            r#"{"model_type":"mistral","hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,"vocab_size":32000,"sliding_window":4096}"#,
        );
        same_as(
            "mixtral-8x7b",
            r#"{"model_type":"mixtral","hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,"vocab_size":32000,"num_local_experts":8,"num_experts_per_tok":2,"sliding_window":null}"#,
        );
        same_as(
            "qwen2.5-7b",
            r#"{"model_type":"qwen2","hidden_size":3584,"intermediate_size":18944,"num_hidden_layers":28,"num_attention_heads":28,"num_key_value_heads":4,"vocab_size":152064,"tie_word_embeddings":false,"sliding_window":131072,"use_sliding_window":false}"#,
        );
        same_as(
            "qwen3-8b",
            r#"{"model_type":"qwen3","hidden_size":4096,"intermediate_size":12288,"num_hidden_layers":36,"num_attention_heads":32,"num_key_value_heads":8,"head_dim":128,"vocab_size":151936,"tie_word_embeddings":false}"#,
        );
        same_as(
            "gemma-2b",
            r#"{"model_type":"gemma","hidden_size":2048,"intermediate_size":16384,"num_hidden_layers":18,"num_attention_heads":8,"num_key_value_heads":1,"head_dim":256,"vocab_size":256000}"#,
        );
        same_as(
            "gemma-2-9b",
            r#"{"model_type":"gemma2","hidden_size":3584,"intermediate_size":14336,"num_hidden_layers":42,"num_attention_heads":16,"num_key_value_heads":8,"head_dim":256,"vocab_size":256000,"sliding_window":4096}"#,
        );
        same_as(
            "falcon-7b",
            r#"{"model_type":"falcon","hidden_size":4544,"num_hidden_layers":32,"num_attention_heads":71,"vocab_size":65024,"multi_query":true,"new_decoder_architecture":false,"parallel_attn":true,"bias":false,"alibi":false}"#,
        );
        same_as(
            "falcon-40b",
            r#"{"model_type":"falcon","hidden_size":8192,"num_hidden_layers":60,"num_attention_heads":128,"num_kv_heads":8,"vocab_size":65024,"new_decoder_architecture":true,"parallel_attn":true,"bias":false,"alibi":false}"#,
        );
        same_as(
            "phi-2",
            r#"{"model_type":"phi","hidden_size":2560,"intermediate_size":10240,"num_hidden_layers":32,"num_attention_heads":32,"vocab_size":51200,"hidden_act":"gelu_new"}"#,
        );
        same_as(
            "phi-3-mini",
            r#"{"model_type":"phi3","hidden_size":3072,"intermediate_size":8192,"num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":32,"vocab_size":32064,"tie_word_embeddings":false}"#,
        );
        same_as(
            "pythia-1.4b",
            r#"{"model_type":"gpt_neox","hidden_size":2048,"intermediate_size":8192,"num_hidden_layers":24,"num_attention_heads":16,"vocab_size":50304,"tie_word_embeddings":false}"#,
        );
        same_as(
            "gpt2",
            r#"{"model_type":"gpt2","n_embd":768,"n_layer":12,"n_head":12,"n_positions":1024,"vocab_size":50257,"activation_function":"gelu_new"}"#,
        );
        same_as(
            "starcoder",
            r#"{"model_type":"gpt_bigcode","n_embd":6144,"n_layer":40,"n_head":48,"n_inner":24576,"n_positions":8192,"vocab_size":49152,"multi_query":true,"activation_function":"gelu"}"#,
        );
        same_as(
            "opt-1.3b",
            r#"{"model_type":"opt","hidden_size":2048,"ffn_dim":8192,"num_hidden_layers":24,"num_attention_heads":32,"vocab_size":50272,"max_position_embeddings":2048}"#,
        );
        same_as(
            "bert-base",
            r#"{"model_type":"bert","hidden_size":768,"intermediate_size":3072,"num_hidden_layers":12,"num_attention_heads":12,"vocab_size":30522,"max_position_embeddings":512,"type_vocab_size":2}"#,
        );
        same_as(
            "roberta-base",
            r#"{"model_type":"roberta","hidden_size":768,"intermediate_size":3072,"num_hidden_layers":12,"num_attention_heads":12,"vocab_size":50265,"max_position_embeddings":514,"type_vocab_size":1}"#,
        );
        same_as(
            "distilbert",
            r#"{"model_type":"distilbert","dim":768,"hidden_dim":3072,"n_layers":6,"n_heads":12,"vocab_size":30522,"max_position_embeddings":512}"#,
        );
        same_as(
            "t5-base",
            r#"{"model_type":"t5","d_model":768,"d_ff":3072,"d_kv":64,"num_layers":12,"num_decoder_layers":12,"num_heads":12,"vocab_size":32128,"feed_forward_proj":"relu"}"#,
        );
        same_as(
            "flan-t5-base",
            r#"{"model_type":"t5","d_model":768,"d_ff":2048,"d_kv":64,"num_layers":12,"num_heads":12,"vocab_size":32128,"feed_forward_proj":"gated-gelu","tie_word_embeddings":false}"#,
        );
        same_as(
            "deepseek-v2-lite",
            r#"{"model_type":"deepseek_v2","hidden_size":2048,"intermediate_size":10944,"moe_intermediate_size":1408,"num_hidden_layers":27,"num_attention_heads":16,"num_key_value_heads":16,"n_shared_experts":2,"n_routed_experts":64,"num_experts_per_tok":6,"first_k_dense_replace":1,"kv_lora_rank":512,"q_lora_rank":null,"qk_rope_head_dim":64,"qk_nope_head_dim":128,"v_head_dim":128,"vocab_size":102400,"tie_word_embeddings":false}"#,
        );
        same_as(
            "deepseek-v3",
            r#"{"model_type":"deepseek_v3","hidden_size":7168,"intermediate_size":18432,"moe_intermediate_size":2048,"num_hidden_layers":61,"num_attention_heads":128,"num_key_value_heads":128,"n_shared_experts":1,"n_routed_experts":256,"num_experts_per_tok":8,"first_k_dense_replace":3,"kv_lora_rank":512,"q_lora_rank":1536,"qk_rope_head_dim":64,"qk_nope_head_dim":128,"v_head_dim":128,"vocab_size":129280}"#,
        );
    }

    #[test]
    fn a_vision_transformer_is_read() {
        let read = read(r#"{"model_type":"vit","hidden_size":768,"intermediate_size":3072,"num_hidden_layers":12,"num_attention_heads":12,"patch_size":16,"image_size":224,"id2label":{"0":"a","1":"b"}}"#).unwrap();
        let Network::Image(super::super::ImageNet::Vit(vit)) = read.network else {
            panic!("not a vision transformer");
        };
        assert_eq!((vit.layers, vit.patch, vit.classes), (12, 16, 2));
    }

    #[test]
    fn an_unknown_type_with_the_usual_keys_is_read_like_llama() {
        let read = read(r#"{"model_type":"smollm9","hidden_size":512,"intermediate_size":2048,"num_hidden_layers":4,"num_attention_heads":8,"vocab_size":1000}"#).unwrap();
        assert!(
            read.source.contains("`smollm9` is not known"),
            "{}",
            read.source
        );
        assert_eq!(read.transformer().unwrap().kv_heads, 8);
    }

    #[test]
    fn what_is_missing_or_impossible_is_named() {
        let error = read(r#"{"model_type":"llama","hidden_size":4096,"intermediate_size":1,"num_attention_heads":32,"vocab_size":32000}"#).unwrap_err();
        assert!(
            error.message().contains("lacks `num_hidden_layers`"),
            "{error}"
        );
        let error = read(r#"{"model_type":"rwkv"}"#).unwrap_err();
        assert!(error.message().contains("`hidden_size`"), "{error}");
        let error = read(r#"{"model_type":"llama","hidden_size":-1}"#).unwrap_err();
        assert!(error.message().contains("`hidden_size` is -1"), "{error}");
        let error = read(r#"{"model_type":"llama","hidden_size":64,"intermediate_size":64,"num_hidden_layers":99999,"num_attention_heads":4,"vocab_size":10}"#).unwrap_err();
        assert!(
            error.message().contains("layers cannot be 99999"),
            "{error}"
        );
        let error = read(r#"{"model_type":"llama","hidden_size":64,"intermediate_size":64,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":3,"vocab_size":10}"#).unwrap_err();
        assert!(error.message().contains("share 3 KV heads"), "{error}");
        assert!(read("[]").is_err());
        assert!(read("{").unwrap_err().message().contains("not JSON"));
    }
}
