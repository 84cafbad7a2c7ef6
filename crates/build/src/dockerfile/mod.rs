//! The language of docker/dockerfile:1, pure: from bytes to stages of instructions.

mod arguments;
pub(crate) mod directive;
pub mod expand;
pub mod fault;
mod flags;
pub mod heredoc;
pub mod instruction;
mod lexer;
pub(crate) mod mount;
pub(crate) mod parser;
mod pattern;

pub use directive::is_official;
pub use instruction::{Command, Dockerfile, Instruction, Stage};
