//! Download, cache, token and offline modes against a small server with the hub's paths.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use inferometer_core::Secret;
use inferometer_workload::{
    DatasetSettings, HfSettings, HubError, HubSettings, RepoKind, Tokenizer, TokenizerError,
    WorkloadSettings, build,
};

/// What the server was asked: path and authorization.
type Log = Arc<Mutex<Vec<(String, Option<String>)>>>;
type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

/// Serves `answer(path, authorization)` until the test's process ends.
fn serve(answer: impl Fn(&str, Option<&str>) -> Answer + Send + 'static) -> (String, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let log: Log = Arc::default();
    let seen = Arc::clone(&log);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (path, authorization) = request(&stream);
            seen.lock()
                .unwrap()
                .push((path.clone(), authorization.clone()));
            respond(stream, answer(&path, authorization.as_deref()));
        }
    });
    (address, log)
}

fn request(stream: &TcpStream) -> (String, Option<String>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines
        .next()
        .unwrap_or_default()
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .to_owned();
    let mut authorization = None;
    for line in lines.take_while(|line| !line.is_empty()) {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("authorization")
        {
            authorization = Some(value.trim().to_owned());
        }
    }
    (path, authorization)
}

fn respond(mut stream: TcpStream, (status, headers, body): Answer) {
    let mut head = format!(
        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head = format!("{head}{name}: {value}\r\n");
    }
    let _ = stream.write_all(format!("{head}\r\n").as_bytes());
    let _ = stream.write_all(&body);
}

const TOKENIZER: &str = r#"{"version": "1.0", "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "post_processor": null, "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}}"#;

fn settings(endpoint: &str, cache: &Path) -> HubSettings {
    HubSettings {
        endpoint: endpoint.to_owned(),
        token: Some(Secret::new("hf_secret")),
        token_over_http: false,
        offline: false,
        cache_dir: cache.to_owned(),
    }
}

#[test]
fn a_tokenizer_is_downloaded_once_into_the_python_librarys_layout() {
    let (cdn, cdn_log) = serve(|_, _| (200, vec![("etag", "\"other\"".into())], TOKENIZER.into()));
    let (hub, log) = serve(move |path, _| match path {
        "/org/model/resolve/main/tokenizer.json" => (
            302,
            vec![
                ("location", format!("{cdn}/blob")),
                ("x-repo-commit", "c0ffee".into()),
                ("x-linked-etag", "\"b10b\"".into()),
            ],
            Vec::new(),
        ),
        "/org/model/resolve/main/tokenizer_config.json" => (
            200,
            vec![
                ("x-repo-commit", "c0ffee".into()),
                ("etag", "\"c0f1\"".into()),
            ],
            br#"{"bos_token": "a", "chat_template": "{{ messages[0].content }}"}"#.to_vec(),
        ),
        _ => (
            404,
            vec![("x-error-code", "EntryNotFound".into())],
            Vec::new(),
        ),
    });
    let cache = tempfile::tempdir().unwrap();
    let mut settings = settings(&hub, cache.path());
    let tokenizer = Tokenizer::load("org/model", &settings).unwrap();
    // The Python library finds a token that the configuration names before it merges any.
    assert_eq!(tokenizer.encode("abb"), [0, 1, 1]);
    assert_eq!(tokenizer.special_ids(), [0]);
    assert!(tokenizer.has_chat_template());

    let asked = log.lock().unwrap().clone();
    assert!(
        asked
            .iter()
            .all(|(_, token)| token.as_deref() == Some("Bearer hf_secret")),
        "{asked:?}"
    );
    let elsewhere = cdn_log.lock().unwrap().clone();
    assert_eq!(
        elsewhere,
        [("/blob".to_owned(), None)],
        "the token stays with the hub"
    );

    let repo = cache.path().join("models--org--model");
    assert_eq!(
        std::fs::read_to_string(repo.join("refs/main")).unwrap(),
        "c0ffee"
    );
    assert_eq!(
        std::fs::read_to_string(repo.join("blobs/b10b")).unwrap(),
        TOKENIZER
    );
    let snapshot = repo.join("snapshots/c0ffee/tokenizer.json");
    #[cfg(unix)]
    assert_eq!(
        std::fs::read_link(&snapshot).unwrap(),
        Path::new("../../blobs/b10b")
    );
    assert_eq!(std::fs::read_to_string(snapshot).unwrap(), TOKENIZER);
    assert!(
        std::fs::read_dir(repo.join("blobs")).unwrap().count() == 2,
        "no temporary file is left"
    );

    // Once it is there, nothing is asked any more, with or without leave to connect.
    let before = log.lock().unwrap().len();
    settings.offline = true;
    settings.endpoint = "http://127.0.0.1:9".into();
    Tokenizer::load("org/model", &settings).unwrap();
    assert_eq!(log.lock().unwrap().len(), before);
}

/// As transformers 5.19 does from a folder and from the hub.
#[test]
fn the_template_in_a_file_of_its_own_wins_and_absent_files_are_asked_for_once() {
    let (hub, log) = serve(|path, _| match path {
        "/org/both/resolve/main/tokenizer.json" | "/org/bare/resolve/main/tokenizer.json" => (
            200,
            vec![("x-repo-commit", "c0ffee".into())],
            TOKENIZER.into(),
        ),
        "/org/both/resolve/main/tokenizer_config.json" => (
            200,
            vec![("x-repo-commit", "c0ffee".into())],
            br#"{"chat_template": "config"}"#.to_vec(),
        ),
        "/org/both/resolve/main/chat_template.jinja" => (
            200,
            vec![("x-repo-commit", "c0ffee".into())],
            b"file".to_vec(),
        ),
        _ => (
            404,
            vec![
                ("x-error-code", "EntryNotFound".into()),
                ("x-repo-commit", "c0ffee".into()),
            ],
            Vec::new(),
        ),
    });
    let cache = tempfile::tempdir().unwrap();
    let settings = settings(&hub, cache.path());
    for _ in 0..2 {
        let tokenizer = Tokenizer::load("org/both", &settings).unwrap();
        let text = tokenizer.apply_chat_template(&[], &serde_json::Map::new());
        assert_eq!(text.unwrap(), "file");
    }
    let both = log.lock().unwrap().len();
    let bare = Tokenizer::load("org/bare", &settings).unwrap();
    assert!(!bare.has_chat_template());
    let first = log.lock().unwrap().len();
    assert!(
        cache
            .path()
            .join("models--org--bare/.no_exist/c0ffee/chat_template.jinja")
            .is_file(),
        "the mark of the Python library"
    );
    let settings = HubSettings {
        endpoint: "http://127.0.0.1:9".into(),
        ..settings
    };
    for repo in ["org/both", "org/bare"] {
        Tokenizer::load(repo, &settings).unwrap();
    }
    let log = log.lock().unwrap();
    assert_eq!(log.len(), first, "nothing is asked for twice: {log:?}");
    assert!(both <= 7, "{log:?}");
}

/// A mirror once named `/home/user/file` in its listing, and the user's file of that name was
/// replaced by a link.
#[test]
fn a_listing_never_touches_a_file_outside_the_cache() {
    let outside = tempfile::tempdir().unwrap();
    let cache = outside.path().join("cache");
    let victim = outside.path().join("rows.jsonl");
    let evil = [
        victim.display().to_string(),
        "../../../../rows.jsonl".to_owned(),
        "data/../../../../../rows.jsonl".to_owned(),
    ];
    for name in evil {
        std::fs::write(&victim, "the user's own").unwrap();
        let listing = serde_json::json!({"siblings": [{"rfilename": name}]}).to_string();
        let (mirror, log) = serve(move |path, _| match path {
            path if path.starts_with("/api/") => (200, Vec::new(), listing.clone().into_bytes()),
            _ => (
                200,
                vec![("etag", "\"b10b\"".into())],
                b"{\"prompt\": \"x\"}\n".to_vec(),
            ),
        });
        let hub = settings(&mirror, &cache);
        for refused in [
            hub.list(RepoKind::Dataset, "org/set").unwrap_err(),
            hub.file(RepoKind::Dataset, "org/set", &name).unwrap_err(),
        ] {
            assert!(matches!(refused, HubError::UnsafeName { .. }), "{refused}");
        }
        assert_eq!(log.lock().unwrap().len(), 1, "no such file is asked for");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "the user's own");
        assert!(!cache.exists(), "nothing is written");
    }
}

#[test]
fn refusals_say_what_to_do() {
    let (hub, _) = serve(|path, token| match (path, token) {
        (path, None) if path.starts_with("/org/gated/") => (401, Vec::new(), Vec::new()),
        (path, Some(_)) if path.starts_with("/org/gated/") => (403, Vec::new(), Vec::new()),
        (path, _) if path.starts_with("/org/none/") => (
            401,
            vec![("x-error-code", "RepoNotFound".into())],
            Vec::new(),
        ),
        (path, _) if path.starts_with("/org/broken/") => (503, Vec::new(), Vec::new()),
        _ => (
            404,
            vec![("x-error-code", "EntryNotFound".into())],
            Vec::new(),
        ),
    });
    let cache = tempfile::tempdir().unwrap();
    let with_token = settings(&hub, cache.path());
    let without = HubSettings {
        token: None,
        ..with_token.clone()
    };
    let offline = HubSettings {
        offline: true,
        ..with_token.clone()
    };
    let unreachable = HubSettings {
        endpoint: "http://127.0.0.1:9".into(),
        ..with_token.clone()
    };
    for (spec, hub, parts) in [
        ("org/gated", &without, &["HF_TOKEN", "none was sent"][..]),
        ("org/gated", &with_token, &["403", "does not grant access"]),
        (
            "org/none",
            &with_token,
            &["org/none", "no repository of that name"],
        ),
        ("org/broken", &with_token, &["503", "HF_ENDPOINT"]),
        (
            "org/empty",
            &with_token,
            &["no tokenizer.json", "save_pretrained"],
        ),
        ("org/empty", &offline, &["HF_HUB_OFFLINE", "HF_HUB_CACHE"]),
        ("org/empty", &unreachable, &["cannot reach", "HF_ENDPOINT"]),
        ("./no/such/folder", &with_token, &["no such file or folder"]),
    ] {
        let message = Tokenizer::load(spec, hub).unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{spec}: {message}");
        }
        assert!(!message.contains("hf_secret"), "{message}");
    }
}

#[test]
fn a_file_that_breaks_off_is_not_kept() {
    let (hub, _) = serve(|_, _| {
        (
            200,
            vec![("content-length", "999999".into())],
            b"{".to_vec(),
        )
    });
    let cache = tempfile::tempdir().unwrap();
    let error = Tokenizer::load("org/cut", &settings(&hub, cache.path())).unwrap_err();
    assert!(
        matches!(error, TokenizerError::Hub(HubError::Unreachable { .. })),
        "{error}"
    );
    let blobs = cache.path().join("models--org--cut/blobs");
    assert_eq!(std::fs::read_dir(blobs).map_or(0, Iterator::count), 0);
}

#[test]
fn a_dataset_is_listed_downloaded_and_found_offline() {
    let rows = "{\"turns\": [\"Why is the sky blue?\", \"And at night?\"]}\n{\"turns\": [\"Who was first?\"]}\n";
    let (hub, log) = serve(move |path, _| match path {
        "/api/datasets/philschmid/mt-bench/revision/main" => {
            let list =
                r#"{"siblings": [{"rfilename": "README.md"}, {"rfilename": "data/train.jsonl"}]}"#;
            (200, Vec::new(), list.into())
        }
        "/datasets/philschmid/mt-bench/resolve/main/data/train.jsonl" => (
            200,
            vec![
                ("x-repo-commit", "d0d0".into()),
                ("etag", "\"e7a9\"".into()),
            ],
            rows.into(),
        ),
        _ => (404, Vec::new(), Vec::new()),
    });
    let cache = tempfile::tempdir().unwrap();
    let mut hub = settings(&hub, cache.path());
    let run = |hub: &HubSettings| {
        let dataset = DatasetSettings::Hf(HfSettings::new("philschmid/mt-bench", hub.clone()));
        let settings = WorkloadSettings {
            num_prompts: 2,
            ..WorkloadSettings::new(dataset)
        };
        build(&settings, Some(&Tokenizer::builtin().unwrap()), &|_, _| {})
            .unwrap()
            .requests
    };
    let requests = run(&hub);
    assert_eq!(requests.len(), 2);
    let before = log.lock().unwrap().len();
    hub.offline = true;
    assert_eq!(run(&hub), requests);
    assert_eq!(log.lock().unwrap().len(), before);
    let list = hub.list(RepoKind::Dataset, "philschmid/mt-bench").unwrap();
    assert_eq!(list, ["data/train.jsonl"]);
}
