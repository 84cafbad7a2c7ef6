//! The language of docker/dockerfile:1, pure: from bytes to stages of instructions.

pub mod instruction;

pub use instruction::{Command, Dockerfile, Instruction, Stage};
