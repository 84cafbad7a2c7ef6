//! Java with Gradle, in Groovy or Kotlin (pure). Build files are searched, not run: names are enough here.

use super::{
    DetectError, Detected,
    java::{self, Product},
    recipe::Recipe,
    sources::Sources,
    version,
};

const DEFAULT: &str = "8";

pub(super) fn is(sources: &Sources<'_>) -> bool {
    sources.first(&["build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts"]).is_some()
}

pub(super) fn write(sources: &Sources<'_>) -> Result<Detected, DetectError> {
    let mut recipe = Recipe::new("Java with Gradle");
    let files = ["build.gradle", "build.gradle.kts", "app/build.gradle", "app/build.gradle.kts"];
    let Some(file) = files.into_iter().find(|file| {
        let text = sources.text(file);
        !text.is_empty() && (file.starts_with("app/") || text.contains("plugins") || text.contains("apply"))
    }) else {
        return Err(DetectError::Incomplete {
            language: "Java with Gradle",
            missing: format!("none of {} applies a plugin", files.join(", ")),
            way_out: "name the directory of the module that starts",
        });
    };
    let build = sources.text(file);
    let (project, at) = match file.strip_prefix("app/") {
        Some(_) => (":app:", "app/"),
        None => ("", ""),
    };
    recipe.because(format!("{file}: Java with Gradle"));
    let version = java::version(sources, said_version(&build).map(|text| (text, file)));
    recipe.because(version.because);
    recipe.argument("JAVA_VERSION", version.tag);
    let wrapper = sources.text("gradle/wrapper/gradle-wrapper.properties");
    let of_wrapper = wrapper.lines().find_map(|line| line.strip_prefix("distributionUrl=")).and_then(|url| {
        let (_, name) = url.rsplit_once("/gradle-")?;
        version::exact(name)
    });
    match of_wrapper {
        Some(tag) => {
            recipe.because(format!("Gradle {tag}, said by gradle/wrapper/gradle-wrapper.properties"));
            recipe.argument("GRADLE_VERSION", tag);
        }
        None => recipe.argument("GRADLE_VERSION", DEFAULT),
    }
    recipe.ignore(&[".gradle", "**/build"]);

    let has = |plugin: &str| {
        ["'", "\"", "`", "("].iter().any(|q| build.contains(&format!("{q}{plugin}")))
            || build.lines().any(|line| line.trim() == plugin)
    };
    let spring = has("org.springframework.boot");
    let (product, task, collect) = match () {
        () if has("war") => {
            let jakarta = !build.contains("javax.servlet");
            let collect = format!("mkdir -p /out/ROOT && cd /out/ROOT && jar -xf /src/{at}build/libs/*.war");
            (Product::War { jakarta }, "war", collect)
        }
        () if has("io.quarkus") => (
            Product::Jar,
            "quarkusBuild",
            format!(
                "mkdir /out && cp -r {at}build/quarkus-app/. /out && mv /out/quarkus-run.jar /out/app.jar"
            ),
        ),
        () if spring || has("com.github.johnrengelman.shadow") || has("com.gradleup.shadow") => {
            let task = if spring { "bootJar" } else { "shadowJar" };
            let largest = format!(
                "mkdir /out && cp \"$(ls -S {at}build/libs/*.jar | grep -v -e '-plain.jar$' | head -n 1)\" /out/app.jar"
            );
            (Product::Jar, task, largest)
        }
        () if has("application") || build.contains("mainClass") => {
            let collect = format!(
                "mkdir /out && cp -r {at}build/install/*/. /out && mv \"$(find /out/bin -type f -not -name '*.bat' | head -n 1)\" /out/bin/app"
            );
            (Product::Distribution("app".into()), "installDist", collect)
        }
        () => {
            return Err(DetectError::Incomplete {
                language: "Java with Gradle",
                missing: format!(
                    "nothing in {file} says what to start: none of the plugins application, war, \
                     org.springframework.boot, io.quarkus, shadow"
                ),
                way_out: "apply the plugin application",
            });
        }
    };
    recipe.stage("gradle:${GRADLE_VERSION}-jdk${JAVA_VERSION} AS build");
    recipe.line("WORKDIR /src");
    recipe.line("ENV GRADLE_USER_HOME=/cache/gradle");
    recipe.line("COPY . .");
    recipe.run(&["/cache/gradle"], format!("gradle --no-daemon {project}{task} \\\n  && {collect}"));
    let serves = java::serves(&build);
    Ok(java::run(recipe, sources, product, serves))
}

/// `JavaLanguageVersion.of(17)`, `sourceCompatibility = '17'` or `JavaVersion.VERSION_17`, `jvmToolchain(17)`.
fn said_version(build: &str) -> Option<String> {
    let keys = ["JavaLanguageVersion.of(", "jvmToolchain(", "JavaVersion.VERSION_", "sourceCompatibility"];
    keys.iter().find_map(|key| {
        let rest = &build[build.find(key)? + key.len()..];
        let line = rest.lines().next()?.replace('_', ".");
        version::exact(&line)
    })
}
