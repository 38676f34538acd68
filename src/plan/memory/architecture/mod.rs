//! temporary
#[derive(Debug, Clone, PartialEq)]
pub struct Transformer { pub layers:u64,pub hidden:u64,pub heads:u64,pub kv_heads:u64,pub head_width:u64,pub intermediate:u64,pub vocabulary:u64,pub gated:bool,pub tied:bool,pub qkv_bias:bool,pub positions:u64,pub segment_kinds:u64,pub head:Head, pub style: Style }
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Style { Llama, Bert, Gpt2 }
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Head { Tokens, Classes(u64) }
impl Transformer { pub fn query_width(&self)->u64{self.heads*self.head_width} pub fn key_width(&self)->u64{self.kv_heads*self.head_width} }
