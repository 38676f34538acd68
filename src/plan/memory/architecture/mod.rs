//! temporary
#[derive(Debug, Clone, PartialEq)]
pub struct Transformer { pub layers:u64,pub hidden:u64,pub heads:u64,pub kv_heads:u64,pub head_width:u64,pub intermediate:u64,pub vocabulary:u64,pub gated:bool,pub tied:bool,pub qkv_bias:bool,pub positions:u64,pub segment_kinds:u64,pub head:Head, pub style: Style }
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Style { Llama, Bert, Gpt2 }
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Head { Tokens, Classes(u64) }
impl Transformer { pub fn query_width(&self)->u64{self.heads*self.head_width} pub fn key_width(&self)->u64{self.kv_heads*self.head_width} }

#[derive(Debug, Clone, PartialEq)]
pub enum ImageNet { ResNet(ResNet), Vgg(Vgg), MobileNetV2{classes:u64}, EfficientNet(EfficientNet), ConvNext{depths:Vec<u64>,widths:Vec<u64>,classes:u64}, Vit(Vit) }
impl ImageNet { pub fn classes(&self)->u64 { 1000 } }
#[derive(Debug, Clone, PartialEq)]
pub struct ResNet { pub depths: Vec<u64>, pub bottleneck: bool, pub groups: u64, pub width_per_group: u64, pub classes: u64 }
#[derive(Debug, Clone, PartialEq)]
pub struct Vgg { pub stages: Vec<[u64;2]>, pub batch_norm: bool, pub pool_last: bool, pub average_to: u64, pub hidden: Vec<u64>, pub classes: u64 }
#[derive(Debug, Clone, PartialEq)]
pub struct EfficientNet { pub width: f64, pub depth: f64, pub classes: u64 }
#[derive(Debug, Clone, PartialEq)]
pub struct Vit { pub layers:u64, pub hidden:u64, pub heads:u64, pub intermediate:u64, pub patch:u64, pub image:u64, pub classes:u64 }
