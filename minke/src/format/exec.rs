//! Carries a parsed template out over a value.
//!
//! Errors read `template: :1:8: executing "" at <.State.Foo>: …`, as Go's do.

use super::funcs;
use super::parse::{Command, Node, Operand, OperandKind, Pipe, Template};
use super::print;
use super::value::Value;

/// How deep templates may call each other.
const CALL_DEPTH: usize = 50;

/// What a template is carried out over.
pub(crate) struct Data<'a> {
    /// The value that `.` begins as.
    pub(crate) root: &'a Value,
    /// The labels that `.Label "name"` reads.
    pub(crate) labels: &'a [(String, String)],
    /// Go's name of the root's type where a missing field is named with it; empty: as in a map of JSON.
    pub(crate) type_name: &'static str,
    /// Whether the root is a row of a listing: its names are exact and its labels can be asked for.
    pub(crate) row: bool,
    /// Whether the fields hold column heads, which functions leave alone.
    pub(crate) heads: bool,
}

/// Fields that JSON leaves out when they are empty, and what they then read as.
fn zero(name: &str) -> Option<Value> {
    Some(match name {
        "Health"
        | "Healthcheck"
        | "StopTimeout"
        | "SizeRw"
        | "SizeRootFs"
        | "Init"
        | "UsageData"
        | "ClusterVolume"
        | "ImageManifestDescriptor"
        | "Descriptor"
        | "Manifests"
        | "Swarm" => Value::Null,
        "Shell" | "Mounts" | "GroupAdd" | "SecurityOpt" | "BlkioDeviceReadBps" => Value::NilList,
        "ExposedPorts" | "Tmpfs" | "Sysctls" | "StorageOpt" | "Annotations" | "Status" => Value::NilMap,
        "StopSignal" | "MacAddress" | "Parent" | "Comment" | "Author" | "Variant" | "OsVersion"
        | "Platform" | "CreatedAt" | "Driver" | "Container" | "DockerVersion" | "ConsoleSize" => {
            Value::Text(String::new())
        }
        "ArgsEscaped" | "NetworkDisabled" => Value::Bool(false),
        _ => return None,
    })
}

/// A sentence and the place that it is about.
pub(crate) struct Wrong {
    at: usize,
    context: String,
    why: String,
}

impl Wrong {
    fn new(operand: &Operand, why: impl Into<String>) -> Self {
        Wrong { at: operand.at, context: operand.to_string(), why: why.into() }
    }
}

/// Why nodes ended before their last.
enum Flow {
    On,
    Break,
    Continue,
}

/// Carries `template` out. The error is Go's sentence.
pub(crate) fn execute(template: &Template, data: &Data<'_>) -> Result<String, String> {
    let mut run = Run {
        template,
        data,
        variables: vec![("$".into(), data.root.clone())],
        out: String::new(),
        depth: 0,
    };
    match run.nodes(&template.nodes, data.root) {
        Ok(_) => Ok(run.out),
        Err(wrong) => {
            let before = &template.source[..wrong.at.min(template.source.len())];
            let (line, column) =
                (1 + before.matches('\n').count(), before.len() - before.rfind('\n').map_or(0, |at| at + 1));
            let name = template.name;
            Err(format!(
                "template: {name}:{line}:{column}: executing {name:?} at <{}>: {}",
                wrong.context, wrong.why
            ))
        }
    }
}

struct Run<'a> {
    template: &'a Template,
    data: &'a Data<'a>,
    variables: Vec<(String, Value)>,
    out: String,
    depth: usize,
}

impl Run<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, Wrong> {
        for node in nodes {
            let scope = self.variables.len();
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Action(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    if pipe.variables.is_empty() {
                        self.out.push_str(&print::plain(&value));
                    }
                }
                Node::If(pipe, body, otherwise) => {
                    let value = self.pipe(pipe, dot)?;
                    let flow = self.nodes(if truth(&value) { body } else { otherwise }, dot)?;
                    self.variables.truncate(scope);
                    if !matches!(flow, Flow::On) {
                        return Ok(flow);
                    }
                }
                Node::With(pipe, body, otherwise) => {
                    let value = self.pipe(pipe, dot)?;
                    let flow =
                        if truth(&value) { self.nodes(body, &value)? } else { self.nodes(otherwise, dot)? };
                    self.variables.truncate(scope);
                    if !matches!(flow, Flow::On) {
                        return Ok(flow);
                    }
                }
                Node::Range(pipe, body, otherwise) => {
                    self.range(pipe, body, otherwise, dot)?;
                    self.variables.truncate(scope);
                }
                Node::Template(name, pipe, at) => self.call(name, pipe.as_ref(), *at, dot)?,
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::On)
    }

    fn call(&mut self, name: &str, pipe: Option<&Pipe>, at: usize, dot: &Value) -> Result<(), Wrong> {
        let wrong = |why: String| Wrong { at, context: format!("{{{{template {name:?}}}}}"), why };
        let template = self.template;
        let Some(nodes) = template.defined.get(name) else {
            return Err(wrong(format!("template {name:?} not defined")));
        };
        self.depth += 1;
        if self.depth > CALL_DEPTH {
            return Err(wrong("exceeded maximum template depth".into()));
        }
        let value = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Value::Null,
        };
        let outer = std::mem::replace(&mut self.variables, vec![("$".into(), value.clone())]);
        self.nodes(nodes, &value)?;
        self.variables = outer;
        self.depth -= 1;
        Ok(())
    }

    fn range(&mut self, pipe: &Pipe, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<(), Wrong> {
        let over = self.value_of(pipe, dot)?;
        let entries: Vec<(Value, Value)> = match &over {
            Value::List(items) => {
                items.iter().enumerate().map(|(at, item)| (Value::Int(at as i64), item.clone())).collect()
            }
            Value::Map(entries) | Value::Struct(entries) => {
                let mut sorted: Vec<_> = entries.clone();
                sorted.sort_by(|a, b| a.0.cmp(&b.0));
                sorted.into_iter().map(|(key, value)| (Value::Text(key), value)).collect()
            }
            Value::Int(count) => (0..*count).map(|n| (Value::Int(n), Value::Int(n))).collect(),
            Value::Null | Value::Absent | Value::NilList | Value::NilMap => Vec::new(),
            other => {
                let last = pipe.commands.last().and_then(|command| command.operands.first());
                let at = last.map_or(0, |operand| operand.at);
                return Err(Wrong {
                    at,
                    context: pipe.to_string(),
                    why: format!("range can't iterate over {}", print::plain(other)),
                });
            }
        };
        if entries.is_empty() {
            self.nodes(otherwise, dot)?;
            return Ok(());
        }
        let scope = self.variables.len();
        for (key, value) in entries {
            match pipe.variables.as_slice() {
                [one] => self.bind(one, value.clone(), pipe.assign),
                [first, second] => {
                    self.bind(first, key, pipe.assign);
                    self.bind(second, value.clone(), pipe.assign);
                }
                _ => {}
            }
            let flow = self.nodes(body, &value)?;
            self.variables.truncate(scope);
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        Ok(())
    }

    fn bind(&mut self, name: &str, value: Value, assign: bool) {
        match self.variables.iter_mut().rev().find(|(known, _)| assign && known == name) {
            Some((_, old)) => *old = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, Wrong> {
        let value = self.value_of(pipe, dot)?;
        for name in &pipe.variables {
            self.bind(name, value.clone(), pipe.assign);
        }
        Ok(value)
    }

    fn value_of(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, Wrong> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        Ok(value.unwrap_or_default())
    }

    /// A command, with the value that the one before it hands on as its last argument.
    fn command(&mut self, command: &Command, dot: &Value, last: Option<Value>) -> Result<Value, Wrong> {
        let (first, rest) = (&command.operands[0], &command.operands[1..]);
        if let OperandKind::Function(name) = &first.kind {
            return self.function(name, command, dot, last);
        }
        if let OperandKind::Field(path) = &first.kind
            && path.last().is_some_and(|name| name == "Label")
            && self.data.row
            && let [argument] = rest
        {
            let wanted = self.operand(argument, dot)?;
            let found = self.data.labels.iter().find(|(name, _)| name == wanted.as_text());
            return Ok(Value::Text(match found {
                Some((_, value)) => value.clone(),
                None if self.data.heads => {
                    wanted.as_text().rsplit('.').next().unwrap_or_default().replace(['-', '_'], " ")
                }
                None => String::new(),
            }));
        }
        if !rest.is_empty() || last.is_some() {
            let why = match &first.kind {
                OperandKind::Field(path) | OperandKind::Variable(_, path) | OperandKind::Pipe(_, path)
                    if !path.is_empty() =>
                {
                    self.operand(first, dot)?;
                    format!("{} is not a method but has arguments", path[path.len() - 1])
                }
                _ => format!("can't give argument to non-function {first}"),
            };
            return Err(Wrong::new(first, why));
        }
        if matches!(first.kind, OperandKind::Nil) {
            return Err(Wrong::new(first, "nil is not a command"));
        }
        self.operand(first, dot)
    }

    fn function(
        &mut self,
        name: &str,
        command: &Command,
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, Wrong> {
        let (operator, operands) = (&command.operands[0], &command.operands[1..]);
        let count = operands.len() + usize::from(last.is_some());
        if let Some(why) = funcs::arity_complaint(name, count) {
            return Err(Wrong::new(operator, why));
        }
        if name == "and" || name == "or" {
            let mut value = Value::Null;
            for operand in operands {
                value = self.operand(operand, dot)?;
                if truth(&value) != (name == "and") {
                    return Ok(value);
                }
            }
            return Ok(last.unwrap_or(value));
        }
        let mut arguments = Vec::with_capacity(count);
        for operand in operands {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(last);
        if self.data.heads && funcs::leaves_heads_alone(name) {
            return Ok(arguments.swap_remove(if matches!(name, "split" | "join" | "truncate") {
                0
            } else {
                count - 1
            }));
        }
        // A listing's own row escapes HTML, as Go's default encoder does; its fields do not.
        if name == "json" && self.data.row && arguments.first() == Some(self.data.root) {
            return Ok(Value::Text(arguments[0].to_json(true)));
        }
        funcs::call(name, &arguments).map_err(|error| match error {
            funcs::Wrong::Argument(at, why) => match operands.get(at) {
                Some(operand) => Wrong::new(operand, why),
                None => Wrong { at: operator.at, context: command.to_string(), why },
            },
            funcs::Wrong::Call(why) => Wrong {
                at: operator.at,
                context: command.to_string(),
                why: format!("error calling {name}: {why}"),
            },
        })
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, Wrong> {
        match &operand.kind {
            OperandKind::Dot => Ok(dot.clone()),
            OperandKind::Nil => Ok(Value::Null),
            OperandKind::Bool(value) => Ok(Value::Bool(*value)),
            OperandKind::Int(value, _) => Ok(Value::Int(*value)),
            OperandKind::Float(value, _) => Ok(Value::Float(*value)),
            OperandKind::Text(text, _) => Ok(Value::Text(text.clone())),
            OperandKind::Field(path) => self.path(operand, dot, path),
            OperandKind::Variable(name, path) => {
                let value = self
                    .variables
                    .iter()
                    .rev()
                    .find(|(known, _)| known == name)
                    .map(|(_, value)| value.clone())
                    .unwrap_or_default();
                self.path(operand, &value, path)
            }
            OperandKind::Pipe(pipe, path) => {
                let value = self.value_of(pipe, dot)?;
                self.path(operand, &value, path)
            }
            OperandKind::Function(name) => {
                let command = Command {
                    operands: vec![Operand { kind: OperandKind::Function(name.clone()), at: operand.at }],
                };
                self.function(name, &command, dot, None)
            }
        }
    }

    fn path(&self, operand: &Operand, from: &Value, path: &[String]) -> Result<Value, Wrong> {
        let mut value = from.clone();
        let mut absent: Option<&str> = None;
        let is_root = std::ptr::eq(from, self.data.root);
        for (at, name) in path.iter().enumerate() {
            let no_entry = |name: &str| Wrong::new(operand, format!("map has no entry for key {name:?}"));
            value = match &value {
                Value::Struct(fields) | Value::Map(fields) => {
                    let exact = fields.iter().find(|(known, _)| known == name);
                    let found = exact.or_else(|| {
                        fields.iter().find(|(known, _)| {
                            matches!(value, Value::Struct(_))
                                && !self.data.row
                                && known.eq_ignore_ascii_case(name)
                        })
                    });
                    match found {
                        Some((_, field)) => field.clone(),
                        None if matches!(value, Value::Map(_)) => {
                            absent = Some(name);
                            Value::Absent
                        }
                        None if !self.data.type_name.is_empty() && at == 0 && is_root => {
                            return Err(Wrong::new(
                                operand,
                                format!("can't evaluate field {name} in type {}", self.data.type_name),
                            ));
                        }
                        None => match zero(name) {
                            Some(zero) => {
                                absent = Some(name);
                                zero
                            }
                            None => return Err(no_entry(name)),
                        },
                    }
                }
                Value::NilMap => Value::Absent,
                Value::Null | Value::Absent | Value::NilList => {
                    return Err(match absent {
                        Some(missing) => no_entry(missing),
                        None => Wrong::new(operand, format!("nil pointer evaluating interface {{}}.{name}")),
                    });
                }
                other => {
                    let kind = if !self.data.row { "interface {}" } else { print::type_name(other) };
                    return Err(Wrong::new(operand, format!("can't evaluate field {name} in type {kind}")));
                }
            };
        }
        Ok(value)
    }
}

/// Go's idea of what is true: all but the empty, zero and nothing.
pub(crate) fn truth(value: &Value) -> bool {
    match value {
        Value::Null | Value::Absent | Value::NilList | Value::NilMap => false,
        Value::Bool(value) => *value,
        Value::Int(value) => *value != 0,
        Value::Float(value) => *value != 0.0,
        Value::Text(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Map(entries) => !entries.is_empty(),
        Value::Struct(_) => true,
    }
}
