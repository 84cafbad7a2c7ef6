//! Changes that happen all at once, or not at all.

use super::{
    Element, Expression, Family, Kind, SUBSYSTEM, Set,
    read::{RuleInfo, parse_rule},
    set::write_elements,
};
use crate::netlink::{ACK, APPEND, CREATE, ECHO, Message, Refused, Socket};
use rustix::io::Errno;

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

/// How often a batch is tried again when the kernel's ruleset moved under it.
const TRIES: usize = 16;

/// Where in a packet's way a base chain hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Hook {
    /// Before the choice of a route.
    Prerouting = 0,
    /// For this machine's processes.
    Input = 1,
    /// For others.
    Forward = 2,
    /// From this machine's processes.
    Output = 3,
    /// Just before it leaves.
    Postrouting = 4,
}

/// The place among the chains of a hook; lower is earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority(pub i32);

impl Priority {
    /// Before connection tracking.
    pub const RAW: Self = Self(-300);
    /// Translation of receivers.
    pub const DSTNAT: Self = Self(-100);
    /// Filtering.
    pub const FILTER: Self = Self(0);
    /// Translation of senders.
    pub const SRCNAT: Self = Self(100);
}

/// A chain: called by others, or by a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// `filter` or `nat` with hook and place; `None` for a chain that is only jumped to.
    pub base: Option<(&'static str, Hook, Priority)>,
}

impl Chain {
    /// A chain that is jumped to.
    pub fn plain(name: &str) -> Self {
        Self { name: name.to_owned(), base: None }
    }

    /// A chain that a hook calls, accepting by default.
    pub fn base(name: &str, kind: &'static str, hook: Hook, priority: Priority) -> Self {
        Self { name: name.to_owned(), base: Some((kind, hook, priority)) }
    }
}

/// A rule of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its chain.
    pub chain: String,
    /// Its steps.
    pub steps: Vec<Expression>,
    /// Shown by `nft`, at most 120 bytes; empty is none.
    pub comment: &'static str,
}

/// What the kernel tells of a rule that a batch made.
pub type Made = RuleInfo;

/// Changes, collected.
#[derive(Clone, Debug)]
pub struct Batch {
    messages: Vec<Message>,
    sets: u32,
}

/// A message's start: kind, flags and `struct nfgenmsg`.
pub(super) fn head(kind: u16, flags: u16, family: Family) -> Message {
    let mut message = Message::new(kind, flags);
    message.put(&[family as u8, 0, 0, 0]);
    message
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { messages: Vec::new(), sets: 0 }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Makes a table; one that is there is left as it is.
    pub fn add_table(&mut self, family: Family, table: &str, comment: &str) {
        let mut message = head(Kind::NewTable.number(), CREATE, family);
        message.attr_str(1, table).attr_be32(2, 0);
        if !comment.is_empty() {
            message.attr(6, &user_comment(comment));
        }
        self.messages.push(message);
    }

    /// Takes a table away with all that is in it. Refused with `NOENT` when there is none.
    pub fn delete_table(&mut self, family: Family, table: &str) {
        let mut message = head(Kind::DelTable.number(), 0, family);
        message.attr_str(1, table);
        self.messages.push(message);
    }

    /// Makes a chain; one that is there is left as it is.
    pub fn add_chain(&mut self, family: Family, table: &str, chain: &Chain) {
        let mut message = head(Kind::NewChain.number(), CREATE, family);
        message.attr_str(1, table).attr_str(3, &chain.name);
        if let Some((kind, hook, priority)) = chain.base {
            message.nest(4, |m| {
                m.attr_be32(1, hook as u32).attr_be32(2, priority.0 as u32);
            });
            // `NF_ACCEPT` by default.
            message.attr_be32(5, 1).attr_str(7, kind);
        }
        self.messages.push(message);
    }

    /// Takes a chain away; nothing may jump to it any more.
    pub fn delete_chain(&mut self, family: Family, table: &str, chain: &str) {
        let mut message = head(Kind::DelChain.number(), 0, family);
        message.attr_str(1, table).attr_str(3, chain);
        self.messages.push(message);
    }

    /// Takes all rules of a chain away.
    pub fn flush_chain(&mut self, family: Family, table: &str, chain: &str) {
        let mut message = head(Kind::DelRule.number(), 0, family);
        message.attr_str(1, table).attr_str(2, chain);
        self.messages.push(message);
    }

    /// Makes a set or map.
    pub fn add_set(&mut self, family: Family, table: &str, set: &Set) {
        self.sets += 1;
        let mut message = head(Kind::NewSet.number(), CREATE, family);
        set.write(&mut message, table, self.sets);
        self.messages.push(message);
    }

    /// Takes a set or map away; no rule may look at it any more.
    pub fn delete_set(&mut self, family: Family, table: &str, set: &str) {
        let mut message = head(Kind::DelSet.number(), 0, family);
        message.attr_str(1, table).attr_str(2, set);
        self.messages.push(message);
    }

    /// Adds elements; ones that are there already, with the same value, are no error.
    pub fn add_elements(&mut self, family: Family, table: &str, set: &Set, elements: &[Element]) {
        self.messages.extend(write_elements(
            Kind::NewElements.number(),
            CREATE,
            family,
            table,
            set,
            elements,
        ));
    }

    /// Takes elements away. Refused with `NOENT` when one is missing.
    pub fn delete_elements(&mut self, family: Family, table: &str, set: &Set, elements: &[Element]) {
        self.messages.extend(write_elements(Kind::DelElements.number(), 0, family, table, set, elements));
    }

    /// Puts a rule at the end of its chain.
    pub fn append_rule(&mut self, family: Family, table: &str, rule: &Rule) {
        self.rule(CREATE | APPEND, family, table, rule);
    }

    /// Puts a rule at the head of its chain.
    pub fn insert_rule(&mut self, family: Family, table: &str, rule: &Rule) {
        self.rule(CREATE, family, table, rule);
    }

    fn rule(&mut self, flags: u16, family: Family, table: &str, rule: &Rule) {
        let mut message = head(Kind::NewRule.number(), flags, family);
        message.attr_str(1, table).attr_str(2, &rule.chain).nest(4, |m| {
            for step in &rule.steps {
                step.write(m);
            }
        });
        if !rule.comment.is_empty() {
            message.attr(7, &user_comment(rule.comment));
        }
        self.messages.push(message);
    }

    /// Takes a rule away by its handle.
    pub fn delete_rule(&mut self, family: Family, table: &str, chain: &str, handle: u64) {
        let mut message = head(Kind::DelRule.number(), 0, family);
        message.attr_str(1, table).attr_str(2, chain).attr_be64(3, handle);
        self.messages.push(message);
    }

    /// Makes all of it real, or nothing. `ERESTART` (the ruleset moved meanwhile) is tried again, a few times.
    pub fn commit(&self, socket: &mut Socket) -> Result<(), Refused> {
        self.send(socket, 0).map(drop)
    }

    /// The same, and returns the rules that were made, with their handles.
    pub fn commit_and_tell(&self, socket: &mut Socket) -> Result<Vec<Made>, Refused> {
        self.send(socket, ECHO)
    }

    fn send(&self, socket: &mut Socket, flags: u16) -> Result<Vec<Made>, Refused> {
        if self.messages.is_empty() {
            return Ok(Vec::new());
        }
        let mut messages = Vec::with_capacity(self.messages.len() + 2);
        messages.push(edge(BATCH_BEGIN));
        messages.extend(self.messages.iter().cloned());
        messages.push(edge(BATCH_END));
        let last = messages.len() - 2;
        for (index, message) in messages.iter_mut().enumerate().skip(1) {
            message.flag(
                1 | if index == last {
                    ACK | flags
                } else if index < last {
                    flags
                } else {
                    0
                },
            );
        }
        messages[0].flag(1);
        let mut tries = 0;
        loop {
            let mut made = Vec::new();
            let result = socket.transact(messages.clone(), |received| {
                if received.kind == Kind::NewRule.number() {
                    made.extend(parse_rule(received.body));
                }
            });
            tries += 1;
            match result {
                Ok(()) => return Ok(made),
                Err(refused) if tries < TRIES && is_restart(refused.errno) => {}
                // Counted without the batch's begin.
                Err(refused) => return Err(Refused { index: refused.index.saturating_sub(1), ..refused }),
            }
        }
    }
}

/// `ERESTART` never reaches other system calls; here it is data.
fn is_restart(errno: Errno) -> bool {
    errno.raw_os_error() == 85 || errno == Errno::INTR
}

/// The begin or end of a batch.
fn edge(kind: u16) -> Message {
    let mut message = Message::new(kind, 0);
    let [a, b] = SUBSYSTEM.to_be_bytes();
    message.put(&[0, 0, a, b]);
    message
}

/// libnftables' form of a comment: type 0, length, text with its zero.
fn user_comment(text: &str) -> Vec<u8> {
    let length = text.len().min(120);
    let mut bytes = vec![0, length as u8 + 1];
    bytes.extend_from_slice(&text.as_bytes()[..length]);
    bytes.push(0);
    bytes
}
