//! Templates, held to what docker 28 printed for the same ones.

use super::listing::{Listing, Row};
use super::*;

const CONTAINER: &str = r#"{"Id":"40de","Name":"/s1","Path":"sleep","Args":["1000"],
 "State":{"Status":"running","Running":true,"Paused":false,"Restarting":false,"OOMKilled":false,"Dead":false,"Pid":268,"ExitCode":0,"Error":"","StartedAt":"a","FinishedAt":"b"},
 "Config":{"Image":"bb","Env":null,"Labels":{"a":"b","c.d":"e"},"ExposedPorts":{"80/tcp":{}},"Volumes":null},
 "HostConfig":{"LogConfig":{"Type":"json-file","Config":{}},"RestartPolicy":{"Name":"no","MaximumRetryCount":0},"PidsLimit":null,"Binds":["vv:/v","/tmp:/t:ro"]},
 "Mounts":[{"Type":"volume","Name":"vv","Source":"/d","Destination":"/v","Driver":"local","Mode":"z","RW":true,"Propagation":""},{"Type":"bind","Source":"/tmp","Destination":"/t","Mode":"ro","RW":false,"Propagation":"rprivate"}],
 "NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"},{"HostIp":"::","HostPort":"8080"}]},"Networks":{"bridge":{"IPAddress":"172.17.0.2"}}}}"#;

fn render(source: &str) -> Result<String, String> {
    let value: Value = serde_json::from_str(CONTAINER).unwrap();
    Template::parse(source).and_then(|template| template.render_value(&value))
}

#[test]
fn values_print_as_gos_do() {
    for (source, want) in [
        ("{{.Mounts}}", "[{volume vv /d /v local z true } {bind  /tmp /t  ro false rprivate}]"),
        ("{{.State}}", "{running true false false false false 268 0  a b <nil>}"),
        (
            "{{.Config.Labels}} {{.Config.ExposedPorts}} {{.Config.Volumes}} {{.Config.Env}}",
            "map[a:b c.d:e] map[80/tcp:{}] map[] []",
        ),
        ("{{.NetworkSettings.Ports}}", "map[80/tcp:[{0.0.0.0 8080} {:: 8080}]]"),
        (
            "{{.HostConfig.LogConfig}} {{.HostConfig.RestartPolicy}} {{.HostConfig.PidsLimit}} {{.HostConfig.Binds}}",
            "{json-file map[]} {no 0} <nil> [vv:/v /tmp:/t:ro]",
        ),
        (
            "{{.Config.Labels.foo}}|{{index .Config.Labels \"foo\"}}|{{index .Config.Labels \"c.d\"}}",
            "<no value>||e",
        ),
        ("{{.State.Health}} {{.ID}} {{.Id}}", "<nil> 40de 40de"),
        ("{{1.5}} {{-3}} {{0x10}} {{true}} {{'a'}} {{`r`}}", "1.5 -3 16 true 97 r"),
    ] {
        assert_eq!(render(source).as_deref(), Ok(want), "{source}");
    }
}

#[test]
fn the_language_is_there() {
    for (source, want) in [
        (
            "{{.State.Status | upper}} {{title \"abc\"}} {{. | json | len | printf \"%05d\" | len}}",
            "RUNNING Abc 5",
        ),
        ("{{range $i, $e := .Mounts}}{{if $i}},{{end}}{{$e.Type}}{{end}}", "volume,bind"),
        (
            "{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}} {{end}}",
            "bridge=172.17.0.2 ",
        ),
        ("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "8080"),
        ("{{with .State}}{{.Pid}}{{else}}n{{end}}{{with .State.Health}}h{{else}}n{{end}}", "268n"),
        ("{{if and .State.Running (eq .State.Status \"exited\" \"running\")}}y{{else if true}}n{{end}}", "y"),
        ("{{$x := .State}}{{$x.Pid}}{{$x = .Path}}{{$x}}", "268sleep"),
        ("{{/* c */}}x {{- \" y \" -}} z", "x y z"),
        (
            "{{printf \"%d %s %v %q|%-4s|%4d|%.2f\" 1 \"a\" .State.Pid \"x\" \"ab\" 7 1.234}}",
            "1 a 268 \"x\"|ab  |   7|1.23",
        ),
        ("{{print 1 2 \"a\" \"b\" 3}} {{println \"x\" 1}}", "1 2ab3 x 1\n"),
        ("{{define \"x\"}}<{{.}}>{{end}}{{template \"x\" .Path}}", "<sleep>"),
        ("{{range .Args}}{{.}}{{break}}{{end}}{{range .Config.Env}}{{else}}none{{end}}", "1000none"),
        (
            "{{join .HostConfig.Binds \",\"}} {{split \"a,b\" \",\"}} {{pad \"a\" 2 3}}| {{truncate \"hello\" 2}}",
            "vv:/v,/tmp:/t:ro [a b]   a   | he",
        ),
        (
            "{{json .HostConfig.LogConfig}} {{html \"<a>\"}} {{urlquery \"a b\"}} {{slice \"hello\" 1 3}}",
            "{\"Type\":\"json-file\",\"Config\":{}} &lt;a&gt; a+b el",
        ),
        (
            "{{not true}} {{and 1 0}} {{or 0 \"x\"}} {{lt 1 2}} {{ge 1 2}} {{ne \"a\" \"b\"}}",
            "false 0 x true false true",
        ),
    ] {
        assert_eq!(render(source).as_deref(), Ok(want), "{source}");
    }
}

#[test]
fn mistakes_are_told_in_gos_words() {
    for (source, want) in [
        (
            "{{.State.Foo}}",
            "template: :1:8: executing \"\" at <.State.Foo>: map has no entry for key \"Foo\"",
        ),
        (
            "{{.State.Health.Status}}",
            "template: :1:8: executing \"\" at <.State.Health.Status>: map has no entry for key \"Health\"",
        ),
        (
            "{{.Name.Foo}}",
            "template: :1:7: executing \"\" at <.Name.Foo>: can't evaluate field Foo in type interface {}",
        ),
        ("{{.Foo.Bar}}", "template: :1:6: executing \"\" at <.Foo.Bar>: map has no entry for key \"Foo\""),
        ("{{json}}", "template: :1:2: executing \"\" at <json>: wrong number of args for json: want 1 got 0"),
        ("{{json .Foo}}", "template: :1:7: executing \"\" at <.Foo>: map has no entry for key \"Foo\""),
        (
            "{{index .Mounts 5}}",
            "template: :1:2: executing \"\" at <index .Mounts 5>: error calling index: index out of range: 5",
        ),
        (
            "{{eq .State.Status 1}}",
            "template: :1:2: executing \"\" at <eq .State.Status 1>: error calling eq: incompatible types for comparison",
        ),
        ("{{nil}}", "template: :1:2: executing \"\" at <nil>: nil is not a command"),
        (
            "{{.State.Pid 1}}",
            "template: :1:8: executing \"\" at <.State.Pid>: Pid is not a method but has arguments",
        ),
        (
            "{{\"a\" \"b\"}}",
            "template: :1:2: executing \"\" at <\"a\">: can't give argument to non-function \"a\"",
        ),
        ("{{foo}}", "template: :1: function \"foo\" not defined"),
        ("{{.State", "template: :1: unclosed action"),
        ("{{if}}", "template: :1: missing value for if"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
        ("\n{{range .Mounts}}x", "template: :2: unexpected EOF"),
        ("{{\"a", "template: :1: unterminated quoted string"),
        ("{{$x}}", "template: :1: undefined variable \"$x\""),
        ("{{break}}", "template: :1: {{break}} outside {{range}}"),
    ] {
        assert_eq!(render(source).unwrap_err(), want, "{source}");
    }
}

const LISTING: Listing = Listing {
    type_name: "*formatter.ContainerContext",
    heads: &[("ID", "CONTAINER ID"), ("Image", "IMAGE"), ("Names", "NAMES")],
    table: "table {{.ID}}\\t{{.Image}}\\t{{.Names}}",
    quiet: "{{.ID}}",
    raw: "",
};

fn rows() -> Vec<Row> {
    let mut row = Row::new([("Names", "s1".into()), ("ID", "40deb1ac3b12".into()), ("Image", "b>b".into())]);
    row.labels = vec![("a.b_c".into(), "v".into())];
    vec![row]
}

#[test]
fn listings_are_tables_lines_or_json() {
    let show = |format: &str, quiet| LISTING.render(format, quiet, &rows());
    assert_eq!(show("", false).unwrap(), "CONTAINER ID   IMAGE     NAMES\n40deb1ac3b12   b>b       s1\n");
    assert_eq!(show("", true).unwrap(), "40deb1ac3b12\n");
    assert_eq!(
        show("json", false).unwrap(),
        "{\"ID\":\"40deb1ac3b12\",\"Image\":\"b\\u003eb\",\"Names\":\"s1\"}\n"
    );
    assert_eq!(
        show("table {{.ID}}\\t{{.Label \"a.b_c\"}}\\t{{upper .Names}}", false).unwrap(),
        "CONTAINER ID   b c       NAMES\n40deb1ac3b12   v         S1\n"
    );
    assert_eq!(show("{{json .Image}}\\t{{.Names}}", false).unwrap(), "\"b>b\"\ts1\n");
    assert_eq!(
        show("{{.Foo}}", false).unwrap_err(),
        "failed to execute template: template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *formatter.ContainerContext"
    );
    assert_eq!(
        show("{{.ID.Foo}}", false).unwrap_err(),
        "failed to execute template: template: :1:5: executing \"\" at <.ID.Foo>: can't evaluate field Foo in type string"
    );
    assert_eq!(show("{{.Foo", false).unwrap_err(), "failed to parse template: template: :1: unclosed action");
}
