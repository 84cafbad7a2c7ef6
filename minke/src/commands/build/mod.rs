//! `build`, also `image build` and `builder build`: from source to an image, by the daemon's BuildKit protocol.
//!
//! Source without a Dockerfile gets one (`--print` shows it). Start at `run.rs`, which Compose's builds share.

pub(crate) mod display;

mod check;
mod context;
mod layout;
mod local;
pub(crate) mod run;
pub(crate) mod session;
mod source;
pub(crate) mod wish;

use crate::cli::{
    Cli, Failure, Outcome,
    command::{Arity, Command, command},
    flag::{Bytes, Commas, flags},
    show,
};
use display::{Display, Mode};
use wish::Wish;

/// `build`
pub(crate) static COMMAND: Command = command!(BuildFlags, build, {
    name: "build",
    known_as: &["image build", "build", "builder build"],
    usage: "[OPTIONS] PATH | URL | -",
    about: "Build an image from a Dockerfile, or from source without one",
    arity: Arity::Exactly(1),
});

flags! {
    /// Flags of `build`.
    struct BuildFlags {
        add_host: Vec<String> ["add-host"], "Add a custom host-to-IP mapping (format: \"host:ip\")";
        allow: Commas ["allow"], "Allow extra privileged entitlement (e.g., \"network.host\")";
        annotation: Vec<String> ["annotation"], "Add annotation to the image";
        arguments: Vec<String> ["build-arg"], "Set build-time variables";
        contexts: Vec<String> ["build-context"], "Additional build contexts (e.g., name=path)";
        builder: String ["builder"], "";
        cache_from: Vec<String> ["cache-from"], "External cache sources (e.g., \"user/app:cache\", \"type=registry,ref=user/app\")";
        cache_to: Vec<String> ["cache-to"], "Cache export destinations (e.g., \"user/app:cache\", \"type=inline\")";
        call: String ["call"] = "build", "Method for evaluating build (\"build\", \"check\")";
        cgroup_parent: String ["cgroup-parent"], "Set the parent cgroup for the \"RUN\" instructions during build";
        check: bool ["check"], "Shorthand for \"--call=check\"";
        compress: bool ["compress"], "";
        content_trust_off: bool ["disable-content-trust"] = "true", "";
        file: String ["file" 'f'], "Name of the Dockerfile (default: \"PATH/Dockerfile\")";
        force_rm: bool ["force-rm"], "";
        iidfile: String ["iidfile"], "Write the image ID to a file";
        label: Vec<String> ["label"], "Set metadata for an image";
        load: bool ["load"], "Shorthand for \"--output=type=docker\"";
        metadata_file: String ["metadata-file"], "Write build result metadata to a file";
        network: String ["network"] = "default", "Set the networking mode for the \"RUN\" instructions during build";
        no_cache: bool ["no-cache"], "Do not use cache when building the image";
        no_cache_filter: Commas ["no-cache-filter"], "Do not cache specified stages";
        output: Vec<String> ["output" 'o'], "Output destination (format: \"type=local,dest=path\")";
        platform: Commas ["platform"], "Set target platform for build";
        print: bool ["print"], "Print the Dockerfile that source without one would be built by";
        progress: String ["progress"] = "auto", "Set type of progress output (\"auto\", \"plain\", \"tty\", \"rawjson\", \"quiet\")";
        provenance: String ["provenance"], "";
        pull: bool ["pull"], "Always attempt to pull all referenced images";
        push: bool ["push"], "Push the image to its registry when it is built";
        quiet: bool ["quiet" 'q'], "Suppress the build output and print image ID on success";
        rm: bool ["rm"] = "true", "";
        sbom: String ["sbom"], "";
        secret: Vec<String> ["secret"], "Secret to expose to the build (format: \"id=mysecret[,src=/local/secret]\")";
        shm_size: Bytes ["shm-size"], "Shared memory size for build containers";
        ssh: Vec<String> ["ssh"], "SSH agent socket or keys to expose to the build (format: \"default|<id>[=<socket>]\")";
        tags: Vec<String> ["tag" 't'], "Image identifier (format: \"[registry/]repository[:tag]\")";
        target: String ["target"], "Set the target build stage to build";
        ulimit: Vec<String> ["ulimit"], "Ulimit options";
    }
}

/// Writes `text` to a file that a flag names.
fn write(path: &str, text: &str) -> Outcome {
    std::fs::write(path, text)
        .map_err(|error| Failure::new(format!("open {path}: {}", super::go_error(&error))))
}

fn build(cli: &Cli, flags: BuildFlags, args: Vec<String>) -> Outcome {
    if flags.push && flags.load {
        return Err(Failure::new("push and load may not be set together at the moment"));
    }
    if !flags.content_trust_off {
        return Err(Failure::new(
            "--disable-content-trust=false: signatures of Docker Content Trust are not supported, since its service is retired",
        ));
    }
    for tag in &flags.tags {
        let invalid = |error| Failure::new(format!("ERROR: failed to build: invalid tag {tag:?}: {error}"));
        minke_image::Reference::parse(tag).map_err(|error| invalid(error.to_string()))?;
    }
    let wish = Wish {
        context: args[0].clone(),
        file: flags.file,
        inline: None,
        tags: flags.tags,
        arguments: flags.arguments,
        labels: flags.label,
        target: flags.target,
        platforms: flags.platform.0,
        no_cache: flags.no_cache,
        no_cache_filter: flags.no_cache_filter.0,
        pull: flags.pull,
        secrets: flags.secret,
        ssh: flags.ssh,
        hosts: flags.add_host,
        network: flags.network,
        ulimits: flags.ulimit,
        shm_size: flags.shm_size.0,
        cgroup_parent: flags.cgroup_parent,
        contexts: flags.contexts,
        cache_from: flags.cache_from,
        cache_to: flags.cache_to,
        outputs: flags.output,
        push: flags.push,
        annotations: flags.annotation,
        allow: flags.allow.0,
    };
    if flags.print {
        return print(&wish);
    }
    match (flags.call.as_str(), flags.check) {
        ("build", false) => {}
        ("check", _) | (_, true) => return check::check(&wish),
        (other, _) => {
            return Err(Failure::new(format!(
                "--call={other}: only build and check are answered here; docker buildx has the others"
            )));
        }
    }
    let mode = Mode::of(&flags.progress, flags.quiet)?;
    let built = run::run(cli, wish, &Display::new(mode))?;
    let id = built.id();
    if !flags.iidfile.is_empty() {
        write(&flags.iidfile, id)?;
    }
    if !flags.metadata_file.is_empty() {
        write(&flags.metadata_file, &built.metadata())?;
    }
    if flags.quiet && !id.is_empty() {
        show(&format!("{id}\n"))?;
    }
    Ok(())
}

/// `--print`: the Dockerfile, the one that is there or the one that would be written.
fn print(wish: &Wish) -> Outcome {
    let found = context::find(wish)?;
    if let Some(detected) = &found.detected {
        return show(&detected.dockerfile);
    }
    let text = context::dockerfile_text(&found)?;
    show(&String::from_utf8_lossy(&text))
}
