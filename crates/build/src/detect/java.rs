//! What Maven's and Gradle's projects have in common: Java's version, and the stage that runs (pure).

use super::{
    Detected,
    recipe::{End, Recipe, Start},
    sources::{Sources, port_in},
    version::{self, Version},
};

/// Lines with long-term support, newest first (openjdk.org).
pub(super) const KNOWN: [&str; 5] = ["25", "21", "17", "11", "8"];
const DEFAULT: &str = "21";

/// Java's heap follows the container's memory.
const MEMORY: &str = "-XX:MaxRAMPercentage=75";
/// The port, by Spring's, Quarkus' and Micronaut's names for it.
const PORTS: &str = "-Dserver.port=$PORT -Dquarkus.http.port=$PORT -Dmicronaut.server.port=$PORT";

/// What a build leaves.
pub(super) enum Product {
    /// A WAR, for Tomcat.
    War {
        /// For Tomcat 10 and newer; else for 9, which has Java's older names of packages.
        jakarta: bool,
    },
    /// `/out/app.jar` that `java -jar` runs.
    Jar,
    /// `/out/app.jar` with its packages in `/out/lib`, and the class to start.
    Classes(String),
    /// `/out`, with a script in `bin`.
    Distribution(String),
}

/// From files, else from what the project's own file says.
pub(super) fn version(sources: &Sources<'_>, said: Option<(String, &str)>) -> Version {
    for file in [".java-version", "system.properties", ".sdkmanrc"] {
        if let Some(tag) = sources.line(file).and_then(|line| major(&line)) {
            return Version::said(tag, "Java", file);
        }
    }
    if let Some(tag) = sources.tool_version("java").and_then(|text| major(&text)) {
        return Version::said(tag, "Java", ".tool-versions");
    }
    match said.and_then(|(text, file)| major(&text).map(|tag| (tag, file))) {
        Some((tag, file)) => Version::said(tag, "Java", file),
        None => Version::default(DEFAULT, "Java", ".java-version, system.properties or the project's file"),
    }
}

/// `17` of `17.0.2`, `8` of `1.8`; the next line with images where that one has none.
fn major(text: &str) -> Option<String> {
    let number = version::exact(text)?;
    let number = number.strip_prefix("1.").unwrap_or(&number);
    let wanted: u32 = number.split('.').next()?.parse().ok()?;
    let lines = KNOWN.iter().rev().filter_map(|known| known.parse::<u32>().ok());
    Some(lines.into_iter().find(|line| *line >= wanted).unwrap_or(wanted).to_string())
}

/// Whether the tree serves HTTP, by what its manifest's text names.
pub(super) fn serves(manifest: &str) -> bool {
    let servers = [
        "spring-boot-starter-web",
        "quarkus",
        "micronaut",
        "javalin",
        "jetty",
        "undertow",
        "vertx",
        "ktor",
        "helidon",
        "spark-core",
        "dropwizard",
        "org.springframework.boot",
        "tomcat-embed",
    ];
    servers.iter().any(|server| manifest.contains(server))
}

/// The class with a `main`, the likeliest of several first.
pub(super) fn main_class(sources: &Sources<'_>) -> Option<String> {
    let files = sources
        .find(|path| path.starts_with("src/main/") && (path.ends_with(".java") || path.ends_with(".kt")));
    let main = |text: &str| text.contains("static void main(") || text.contains("fun main(");
    let path = files.into_iter().take(500).find(|path| main(&sources.text(path)))?;
    let rest = path.split_once("src/main/java/").or_else(|| path.split_once("src/main/kotlin/"))?.1;
    let class = match rest.strip_suffix(".kt") {
        // Kotlin's functions of a file are in a class of its name.
        Some(file) => format!("{file}Kt"),
        None => rest.trim_end_matches(".java").to_owned(),
    };
    Some(class.replace('/', "."))
}

/// Where the application's settings or source say that it listens.
pub(super) fn port(sources: &Sources<'_>) -> u16 {
    let settings = ["src/main/resources/application.properties", "src/main/resources/application.yml"];
    let said = settings.iter().find_map(|file| {
        let text = sources.text(file);
        let line = text
            .lines()
            .find(|line| line.trim().starts_with("server.port") || line.trim().starts_with("port:"));
        line.and_then(|line| port_in(&line.replace("server.port", "port").replace("port:", "port=")))
    });
    said.unwrap_or(8080)
}

/// The stage that runs. `serves`: it listens.
pub(super) fn run(mut recipe: Recipe, sources: &Sources<'_>, product: Product, serves: bool) -> Detected {
    let (start, port) = match product {
        Product::War { jakarta } => {
            let tomcat = if jakarta { "10.1" } else { "9.0" };
            recipe.because(match jakarta {
                true => "a WAR: it runs on Tomcat 10.1",
                false => "a WAR with javax.servlet: it runs on Tomcat 9, the last with those names",
            });
            recipe.argument("TOMCAT_VERSION", tomcat);
            recipe.stage("tomcat:${TOMCAT_VERSION}-jre${JAVA_VERSION}");
            recipe.user();
            recipe.line("RUN chown -R app:app conf logs temp work webapps && sed -i 's/port=\"8080\"/port=\"${PORT}\"/' conf/server.xml");
            // Tomcat reads a variable of the environment where it is told so.
            recipe.line(
                "ENV CATALINA_OPTS=\"-Dorg.apache.tomcat.util.digester.PROPERTY_SOURCE=org.apache.tomcat.util.digester.EnvironmentPropertySource\"",
            );
            recipe.line("COPY --from=build --chown=app:app /out/ROOT webapps/ROOT");
            (Start::exec(&["catalina.sh", "run"]), Some(8080))
        }
        Product::Jar => {
            runtime(&mut recipe);
            started(sources, "-jar app.jar", serves)
        }
        Product::Classes(class) => {
            runtime(&mut recipe);
            recipe.because(format!("the class {class} has a main"));
            started(sources, &format!("-cp app.jar:lib/* {class}"), serves)
        }
        Product::Distribution(name) => {
            runtime(&mut recipe);
            let program = format!("bin/{name}");
            match serves {
                true => {
                    let start = format!("JAVA_OPTS=\"$JAVA_OPTS {PORTS}\" exec {program}");
                    (Start::Shell(start), Some(port(sources)))
                }
                false => (Start::exec(&[&program]), None),
            }
        }
    };
    recipe.finish(sources, End { user: "app", port, start })
}

/// How Java is started. What serves is told the port by the names that frameworks have for it.
fn started(sources: &Sources<'_>, what: &str, serves: bool) -> (Start, Option<u16>) {
    let start = match serves {
        // A shell would take the star for itself.
        true => Start::Shell(format!(
            "java {MEMORY} {PORTS} {}",
            what.replace("app.jar:lib/*", "'app.jar:lib/*'")
        )),
        false => Start::Exec(format!("java {MEMORY} {what}").split(' ').map(str::to_owned).collect()),
    };
    (start, serves.then(|| port(sources)))
}

fn runtime(recipe: &mut Recipe) {
    recipe.stage("eclipse-temurin:${JAVA_VERSION}-jre");
    recipe.user();
    recipe.line("WORKDIR /app");
    recipe.line("COPY --from=build /out ./");
}
