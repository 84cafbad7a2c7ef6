//! Everything that can be wrong with a Dockerfile. The texts are BuildKit's and dockerd's where they have one: tools
//! and people match on them.

use crate::go::quote;
use minke_model::Kind;

/// What is wrong with a Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It has no bytes.
    #[error("the Dockerfile cannot be empty")]
    Empty,
    /// It has only comments.
    #[error("file with no instructions")]
    NoInstructions,
    /// It has only `ARG`s.
    #[error("dockerfile contains no stages to build")]
    NoStages,
    /// An instruction other than `ARG` before `FROM`.
    #[error("no build stage in current context")]
    OutsideStage,
    /// A line is too long to be one.
    #[error("dockerfile line greater than max allowed size of 65535")]
    LongLine,
    /// `# escape=` is neither.
    #[error("invalid escape token '{0}' does not match ` or \\")]
    EscapeToken(String),
    /// A directive twice.
    #[error("only one {0} parser directive can be used")]
    DirectiveTwice(String),
    /// `# syntax=` names a frontend that is not here.
    #[error(
        "the frontend {0} is not available: this builder carries out docker/dockerfile itself and runs no other frontends"
    )]
    Frontend(String),
    /// `# check=` has an option that there is not.
    #[error("failed to parse check options: invalid check option {}", quote(.0))]
    CheckOption(String),
    /// `# check=error=` is neither true nor false.
    #[error(
        "failed to parse check options: failed to parse check option {}: strconv.ParseBool: parsing {}: invalid syntax",
        quote(.0), quote(.1)
    )]
    CheckBool(String, String),
    /// Checks found something, and `# check=error=true`.
    #[error("lint violation found for rules: {0}")]
    Checks(String),

    /// No such instruction.
    #[error("unknown instruction: {0}")]
    UnknownInstruction(String),
    /// A list in JSON that is not all strings.
    #[error("when using JSON array syntax, arrays must be comprised of strings only")]
    NotStrings,
    /// `ENV` or `LABEL` with one word.
    #[error("{0} must have two arguments")]
    TwoArguments(&'static str),
    /// A word of `ENV` or `LABEL` without `=`.
    #[error("Syntax error - can't find = in {}. Must be of the form: name=value", quote(.0))]
    NoEquals(String),
    /// Nothing ends a here-document.
    #[error("unterminated heredoc")]
    UnterminatedHeredoc,
    /// A here-document as destination.
    #[error("{0} cannot accept a heredoc as a destination")]
    HeredocDestination(&'static str),
    /// Nothing follows the instruction.
    #[error("{0} requires at least one argument")]
    AtLeastOne(&'static str),
    /// Other than one argument.
    #[error("{0} requires exactly one argument")]
    ExactlyOne(&'static str),
    /// `COPY` or `ADD` with one path.
    #[error(
        "{0} requires at least two arguments, but only one was provided. Destination could not be determined"
    )]
    NoDestination(&'static str),
    /// `=value`.
    #[error("{0} names can not be blank")]
    BlankName(&'static str),
    /// `FROM` with two or more than three words.
    #[error("FROM requires either one or three arguments")]
    FromArguments,
    /// A stage's name breaks the grammar.
    #[error("invalid name for build stage: {}, name can't start with a number or contain symbols", quote(.0))]
    StageName(String),
    /// `ONBUILD ONBUILD`.
    #[error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")]
    OnbuildOnbuild,
    /// `ONBUILD FROM`, `ONBUILD MAINTAINER`.
    #[error("{0} isn't allowed as an ONBUILD trigger")]
    OnbuildTrigger(String),
    /// An image's trigger is not one instruction.
    #[error("onbuild trigger should be a single expression")]
    OnbuildMany,
    /// `HEALTHCHECK NONE …`.
    #[error("HEALTHCHECK NONE takes no arguments")]
    HealthNone,
    /// `HEALTHCHECK CMD` alone.
    #[error("Missing command after HEALTHCHECK CMD")]
    HealthCommand,
    /// Neither `NONE` nor `CMD`.
    #[error("Unknown type {} in HEALTHCHECK (try CMD)", quote(.0))]
    HealthType(String),
    /// Below a millisecond.
    #[error("Interval {} cannot be less than 1ms", quote(.0))]
    HealthInterval(&'static str),
    /// A negative number of retries.
    #[error("--retries cannot be negative ({0})")]
    HealthRetries(i64),
    /// A duration that Go does not take; its sentence.
    #[error("{0}")]
    Duration(String),
    /// A number that Go does not take; its sentence.
    #[error("{0}")]
    Number(String),
    /// `SHELL` without a JSON list.
    #[error("SHELL requires the arguments to be in JSON form")]
    ShellNotJson,
    /// An empty path for `VOLUME`.
    #[error("VOLUME specified can not be an empty string")]
    EmptyVolume,

    /// No such flag.
    #[error("unknown flag: --{0}")]
    UnknownFlag(String),
    /// A flag twice.
    #[error("duplicate flag specified: --{0}")]
    FlagTwice(String),
    /// A flag without its value.
    #[error("missing a value on flag: --{0}")]
    FlagValue(String),
    /// A switch with something else.
    #[error("expecting boolean value for flag --{0}, not: {1}")]
    FlagBool(String, String),

    /// The list of `--mount` is broken.
    #[error("failed to parse csv mounts: {0}")]
    MountRecord(String),
    /// A field needs a value.
    #[error("invalid field '{0}' must be a key=value pair")]
    MountField(String),
    /// A field that there is not.
    #[error("unexpected key '{key}' in '{field}'")]
    MountKey {
        /// Its name.
        key: String,
        /// All of it.
        field: String,
    },
    /// A field of another type of mount.
    #[error("unexpected key '{key}' for mount type '{kind}'")]
    MountKeyForType {
        /// Its name.
        key: String,
        /// The type.
        kind: &'static str,
    },
    /// No such type.
    #[error("unsupported mount type {}", quote(.0))]
    MountType(String),
    /// No such sharing.
    #[error("unsupported sharing value {}", quote(.0))]
    MountSharing(String),
    /// Not true or false, or not a size.
    #[error("invalid value for {key}: {value}")]
    MountValue {
        /// The field.
        key: String,
        /// Its value.
        value: String,
    },
    /// Not a mode or an id.
    #[error("invalid value {value} for {key}")]
    MountNumber {
        /// The field.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// A variable in `from`.
    #[error("'from' doesn't support variable expansion, define alias stage instead")]
    MountFromVariable,
    /// `mode`, `uid`, `gid` where they mean nothing.
    #[error("{key} not allowed for {} type mounts", quote(.kind))]
    MountOwner {
        /// The field.
        key: &'static str,
        /// The type.
        kind: &'static str,
    },
    /// `sharing` of what is no cache.
    #[error("invalid cache sharing set for {0} mount")]
    MountSharingType(&'static str),
    /// `from` of a secret.
    #[error("secret mount should not have a from")]
    SecretFrom,
    /// `sharing` of a secret.
    #[error("secret mount should not define sharing")]
    SecretSharing,
    /// A secret without a name.
    #[error("invalid secret mount. one of source, target required")]
    SecretNameless,
    /// A secret with two names.
    #[error("both source and id can't be set")]
    SecretTwoNames,
    /// `source` of ssh.
    #[error("ssh does not support source")]
    SshSource,
    /// The root as target.
    #[error("invalid mount target {}", quote(.0))]
    MountTarget(String),
    /// A later stage.
    #[error("cannot mount from stage {} to {}, stage needs to be defined before current command", quote(.from), quote(.target))]
    MountLater {
        /// The stage.
        from: String,
        /// Where it was to be seen.
        target: String,
    },
    /// No such network.
    #[error("invalid network mode {}", quote(.0))]
    Network(String),
    /// The host's network without leave.
    #[error("failed to load LLB: network.host is not allowed")]
    NetworkHost,
    /// No such security.
    #[error("security {} is not valid", quote(.0))]
    Security(String),
    /// `--security=insecure` without leave.
    #[error("security.insecure is not allowed: RUN --security=insecure needs --allow security.insecure")]
    Insecure,
    /// `--device`.
    #[error("--device={0} is not supported: this builder gives no devices to build steps")]
    Device(String),

    /// An expansion failed.
    #[error("failed to process {}: {reason}", quote(.word))]
    Expand {
        /// The whole word.
        word: String,
        /// Why.
        reason: ExpandFault,
    },
    /// An expansion of a here-document, label or name failed where BuildKit names no word.
    #[error("{0}")]
    ExpandOnly(ExpandFault),

    /// `FROM` of nothing.
    #[error("base name ({0}) should not be blank")]
    BlankBase(String),
    /// `FROM` of what is no image's name.
    #[error("failed to parse stage name {}: {reason}", quote(.name))]
    BaseName {
        /// The name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// A base that nobody could find.
    #[error("{name}: {reason}")]
    Unresolved {
        /// As written.
        name: String,
        /// Why not.
        reason: String,
    },
    /// `--platform` of nothing.
    #[error("empty platform value from expression {0}")]
    EmptyPlatform(String),
    /// `--platform` of what is none.
    #[error("failed to parse platform {text}: {reason}")]
    Platform {
        /// As written.
        text: String,
        /// Why not.
        reason: String,
    },
    /// No such target.
    #[error("target stage {} could not be found", quote(.0))]
    Target(String),
    /// Stages that need each other.
    #[error("circular dependency detected on stage: {0}")]
    Circular(String),
    /// `--from=7`.
    #[error("invalid stage index {0}")]
    StageIndex(i64),
    /// A variable in `--from`.
    #[error(
        "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround"
    )]
    FromVariable,
    /// `--from` a later stage.
    #[error("cannot copy from stage {}, it needs to be defined before current stage {}", quote(.from), quote(.current))]
    FromLater {
        /// The later one.
        from: String,
        /// This one.
        current: String,
    },
    /// `--chmod` of what is no mode.
    #[error("invalid chmod parameter: '{0}'. it should be octal string and between 0 and 07777")]
    Chmod(String),
    /// `--checksum` of several.
    #[error("checksum can't be specified for multiple sources")]
    ChecksumMany,
    /// `--checksum` of files.
    #[error("checksum requires HTTP(S) or Git sources")]
    ChecksumLocal,
    /// A digest that is none.
    #[error("{0}")]
    Digest(&'static str),
    /// Two checksums.
    #[error("checksum mismatch {} != {}", quote(.0), quote(.1))]
    ChecksumTwice(String, String),
    /// `COPY` of a repository.
    #[error("source can't be a git ref for COPY")]
    CopyGit,
    /// `COPY` of a URL.
    #[error("source can't be a URL for COPY")]
    CopyUrl,
    /// The flag says one, the URL the other.
    #[error("inconsistent keep-git-dir configuration")]
    KeepGitDir,
    /// A repository's URL is broken; BuildKit's sentence.
    #[error("{0}")]
    GitUrl(String),
    /// A here-document with an exec form.
    #[error("parsing produced an invalid run command: {0}")]
    RunHeredoc(String),
    /// `EXPOSE` of what is no port.
    #[error("{0}")]
    Port(String),
    /// `STOPSIGNAL` of what is none.
    #[error("invalid signal: {0}")]
    Signal(String),
    /// `SOURCE_DATE_EPOCH` is no number.
    #[error("invalid SOURCE_DATE_EPOCH: {0}")]
    Epoch(String),
    /// Too many steps to be a build.
    #[error("the Dockerfile asks for more than {0} steps")]
    TooMany(usize),
}

impl Fault {
    /// Wrong, or known and not done here.
    pub fn kind(&self) -> Kind {
        match self {
            Fault::Frontend(_) | Fault::Device(_) => Kind::NotImplemented,
            Fault::NetworkHost | Fault::Insecure => Kind::Forbidden,
            _ => Kind::Invalid,
        }
    }
}

/// Why a `$` could not be expanded. BuildKit's texts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandFault {
    /// `'…`
    #[error("unexpected end of statement while looking for matching single-quote")]
    SingleQuote,
    /// `"…`
    #[error("unexpected end of statement while looking for matching double-quote")]
    DoubleQuote,
    /// `${…`
    #[error("syntax error: missing '}}'")]
    Brace,
    /// `${a/b`
    #[error("syntax error: missing '/' in ${{}}")]
    Slash,
    /// `${}`
    #[error("syntax error: bad substitution")]
    Bad,
    /// `${a!b}`
    #[error("unsupported modifier ({0}) in substitution")]
    Modifier(String),
    /// `${a?}` of an unset one.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the author says.
        message: String,
    },
    /// A pattern with an escape that means nothing.
    #[error("invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What stood behind the backslash.
        escaped: String,
    },
    /// `${a:-${b:-…}}` without end.
    #[error("syntax error: substitutions are nested too deeply")]
    Nested,
    /// It grows without end.
    #[error("syntax error: the expansion is larger than 1 MiB")]
    Large,
}
