//! A served model under a load: in a child process of ours ([`process`]), or a
//! running server over HTTP ([`http`]).

pub mod http;
pub mod process;
