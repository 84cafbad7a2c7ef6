//! Pages without a program, served by nginx without root (pure).

use super::{
    DetectError, Detected,
    recipe::{End, Recipe, Start},
    sources::Sources,
};

/// Where pages may stand.
const ROOTS: [&str; 5] = ["", "public/", "dist/", "site/", "www/"];

/// All that nginx needs, on any of its images: what it writes is in /tmp, its log is the container's.
const NGINX: &str = "\
worker_processes auto;
pid /tmp/nginx.pid;
error_log /dev/stderr;
events {
}
http {
    include /etc/nginx/mime.types;
    access_log /dev/stdout;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    gzip on;
    gzip_types text/css text/plain application/javascript application/json image/svg+xml;
    server {
        listen 8080;
        root /srv/www;
        location / {
            try_files $uri $uri/ $uri.html /index.html;
        }
    }
}
";

fn root(sources: &Sources<'_>) -> Option<&'static str> {
    ROOTS.into_iter().find(|root| sources.has(&format!("{root}index.html")))
}

pub(super) fn is(sources: &Sources<'_>) -> bool {
    root(sources).is_some()
}

pub(super) fn write(sources: &Sources<'_>) -> Result<Detected, DetectError> {
    let mut recipe = Recipe::new("static");
    let root = root(sources).unwrap_or_default();
    recipe.because(format!("{root}index.html: pages, served by nginx"));
    let from = if root.is_empty() { "." } else { root };
    Ok(serve(recipe, sources, from))
}

/// The stage that serves what `COPY from` brings. A path that is no file is the page's own: applications in one page
/// handle those themselves.
pub(super) fn serve(mut recipe: Recipe, sources: &Sources<'_>, from: &str) -> Detected {
    recipe.argument("NGINX_VERSION", "stable");
    recipe.stage("nginx:${NGINX_VERSION}");
    recipe.user();
    recipe.line(format!("COPY <<\"EOF\" /etc/nginx/static.conf\n{NGINX}EOF"));
    recipe.line(format!("COPY {from} /srv/www/"));
    let start = "sed \"s/listen 8080/listen $PORT/\" /etc/nginx/static.conf >/tmp/nginx.conf \
                 && exec nginx -c /tmp/nginx.conf -g 'daemon off;'";
    recipe.finish(sources, End { user: "app", port: Some(8080), start: Start::Shell(start.into()) })
}
