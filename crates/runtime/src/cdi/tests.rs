use super::*;

const YAML: &str = "
cdiVersion: \"0.3.0\"
kind: \"vendor1.com/device\"
containerEdits:
  env: [COMMON=1]
  mounts:
  - {hostPath: /usr/lib/libvendor.so, containerPath: /usr/lib/libvendor.so, options: [ro, nosuid]}
devices:
- name: foo
  containerEdits:
    env:
    - FOO=injected
    deviceNodes:
    - path: /dev/foo
      hostPath: /dev/null
    additionalGids: [44]
- name: \"0\"
  containerEdits:
    hooks: [{hookName: createContainer, path: /bin/true}]
";

/// A registry of its own, with these files in two directories.
fn told(name: &str, first: &[(&str, &str)], second: &[(&str, &str)]) -> (Cdi, PathBuf) {
    let root = std::env::temp_dir().join(format!("minke-cdi-{}-{name}", std::process::id()));
    let directories = [root.join("etc"), root.join("run")];
    for (directory, files) in directories.iter().zip([first, second]) {
        fs::create_dir_all(directory).unwrap();
        for (file, text) in files {
            fs::write(directory.join(file), text).unwrap();
        }
    }
    (Cdi::new(directories.to_vec()), root)
}

#[test]
fn a_device_brings_what_its_file_says() {
    let (cdi, root) = told("one", &[("v.yaml", YAML)], &[]);
    assert_eq!(cdi.devices(), ["vendor1.com/device=0", "vendor1.com/device=foo"]);
    let name = "vendor1.com/device=foo".to_owned();
    let edits = cdi.edits(&[name.clone(), name]).unwrap();
    // What is common comes once.
    assert_eq!(edits.env, ["COMMON=1", "FOO=injected", "FOO=injected"]);
    assert_eq!(edits.nodes[0], ("/dev/null".into(), "/dev/foo".into(), "rwm".into()));
    assert_eq!(edits.mounts, [("/usr/lib/libvendor.so".into(), "/usr/lib/libvendor.so".into(), false)]);
    assert_eq!(edits.groups, [44, 44]);
    let _ = fs::remove_dir_all(root);
}

#[test]
fn what_nobody_describes_or_what_is_not_done_is_refused_by_name() {
    let (cdi, root) = told("refused", &[("v.yaml", YAML), ("broken.yaml", "a: [")], &[]);
    let error = cdi.edits(&["vendor.com/x=1".into(), "vendor.com/x=2".into()]).unwrap_err();
    let words = "CDI device injection failed: unresolvable CDI devices vendor.com/x=1, vendor.com/x=2";
    assert_eq!(error.to_string(), words);
    let error = cdi.edits(&["vendor1.com/device=0".into()]).unwrap_err();
    assert!(error.to_string().contains("asks for hooks"), "{error}");
    let _ = fs::remove_dir_all(root);
}

#[test]
fn the_later_directory_counts_and_two_claims_in_one_are_none() {
    let json = |value: &str| {
        format!(r#"{{"kind":"v.com/c","devices":[{{"name":"d","containerEdits":{{"env":["A={value}"]}}}}]}}"#)
    };
    let (one, two) = (json("one"), json("two"));
    let (cdi, root) = told("later", &[("a.json", &one)], &[("b.json", &two)]);
    assert_eq!(cdi.edits(&["v.com/c=d".into()]).unwrap().env, ["A=two"]);
    let _ = fs::remove_dir_all(root);
    let (cdi, root) = told("twice", &[("a.json", &one), ("b.json", &two)], &[]);
    assert_eq!(cdi.devices(), Vec::<String>::new());
    cdi.edits(&["v.com/c=d".into()]).unwrap_err();
    let _ = fs::remove_dir_all(root);
}
