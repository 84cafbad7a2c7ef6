//! Java with Maven (pure). pom.xml is searched, not read as XML: names are enough here.

use super::{
    DetectError, Detected,
    java::{self, Product},
    recipe::Recipe,
    sources::Sources,
};

/// Plugins whose jar has everything in it.
const WHOLE: [&str; 4] =
    ["spring-boot-maven-plugin", "maven-shade-plugin", "maven-assembly-plugin", "micronaut-maven-plugin"];

pub(super) fn is(sources: &Sources<'_>) -> bool {
    sources.has("pom.xml")
}

pub(super) fn write(sources: &Sources<'_>) -> Result<Detected, DetectError> {
    let mut recipe = Recipe::new("Java with Maven");
    let pom = sources.text("pom.xml");
    recipe.because("pom.xml: Java with Maven");
    let keys = [
        "maven.compiler.release",
        "java.version",
        "maven.compiler.source",
        "maven.compiler.target",
        "release",
    ];
    let said = keys.iter().find_map(|key| element(&pom, key)).map(|text| (text, "pom.xml"));
    let version = java::version(sources, said);
    recipe.because(version.because);
    recipe.argument("JAVA_VERSION", version.tag);
    recipe.ignore(&["**/target"]);

    let quarkus = pom.contains("quarkus-maven-plugin");
    let war = element(&pom, "packaging").as_deref() == Some("war");
    let whole = WHOLE.iter().any(|plugin| pom.contains(plugin));
    let class = java::main_class(sources);
    let modules = pom.contains("<modules>");
    let (product, collect) = match () {
        () if war => {
            let old = pom.contains("javax.servlet") || (pom.contains("javax") && !pom.contains("jakarta"));
            (
                Product::War { jakarta: !old },
                "mkdir -p /out/ROOT && cd /out/ROOT && jar -xf /src/target/*.war",
            )
        }
        () if quarkus => (
            Product::Jar,
            "mkdir /out && cp -r target/quarkus-app/. /out && mv /out/quarkus-run.jar /out/app.jar",
        ),
        () if whole || (modules && class.is_none()) => (Product::Jar, COLLECT_JAR),
        () => {
            let Some(class) = class else {
                return Err(DetectError::Incomplete {
                    language: "Java with Maven",
                    missing: format!(
                        "nothing says what to start: no packaging war, none of the plugins {}, and no class with a \
                         main in src/main",
                        WHOLE.join(", ")
                    ),
                    way_out: "name the directory of the module that starts",
                });
            };
            (Product::Classes(class), COLLECT_CLASSES)
        }
    };
    recipe.stage("maven:3-eclipse-temurin-${JAVA_VERSION} AS build");
    recipe.line("WORKDIR /src");
    if !modules {
        recipe.line("COPY pom.xml ./");
        recipe.run(&["/root/.m2"], "mvn -B -ntp dependency:go-offline");
    }
    recipe.line("COPY . .");
    let copies = match product {
        Product::Classes(_) => " dependency:copy-dependencies -DincludeScope=runtime",
        _ => "",
    };
    recipe.run(&["/root/.m2"], format!("mvn -B -ntp -DskipTests package{copies} \\\n  && {collect}"));
    let serves = java::serves(&pom);
    Ok(java::run(recipe, sources, product, serves))
}

/// The largest jar is the one with everything in it.
const COLLECT_JAR: &str = "mkdir /out && cp \"$(find . -path '*/target/*.jar' -not -name '*-sources.jar' \
    -not -name '*-javadoc.jar' -not -name 'original-*' -printf '%s %p\\n' | sort -n | tail -n 1 | cut -d ' ' -f 2-)\" /out/app.jar";

const COLLECT_CLASSES: &str = "mkdir -p /out target/dependency && cp -r target/dependency /out/lib \
    && cp \"$(find target -maxdepth 1 -name '*.jar' | head -n 1)\" /out/app.jar";

/// The text of the first element of that name outside `<parent>`.
fn element(pom: &str, name: &str) -> Option<String> {
    let rest = match pom.split_once("</parent>") {
        Some((before, after)) => {
            let head = before.split("<parent>").next().unwrap_or_default();
            format!("{head}{after}")
        }
        None => pom.to_owned(),
    };
    let (_, after) = rest.split_once(&format!("<{name}>"))?;
    let text = after.split('<').next()?.trim();
    (!text.is_empty() && !text.contains("${")).then(|| text.to_owned())
}
