use serde_json::json;

use super::*;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn urls_are_shown_without_their_secrets() {
    for (url, shown) in [
        ("http://host:8000/v1", "http://host:8000/v1"),
        ("https://user:p@ss@host/v1/x@y", "https://***@host/v1/x@y"),
        ("user:secret@proxy:3128", "***@proxy:3128"),
        (
            "http://h/v1?api_key=sk-1&debug",
            "http://h/v1?api_key=***&***",
        ),
        (
            "/v1/chat?api-version=2026-01&code=x",
            "/v1/chat?api-version=2026-01&code=***",
        ),
        // Not sound: all before the last `@` may be a password.
        ("http://u:PLANT/x@127.0.0.1:1", "http://***@127.0.0.1:1"),
        ("http://u:PL?NT@h", "http://***@h"),
        ("http://u:PL#NT@h/x", "http://***@h/x"),
        ("https//u:PLANT@h", "***@h"),
        ("http:/u:PLANT@h", "***@h"),
        ("u:PLANT/x@h", "***@h"),
        ("://u:PLANT@h", "://***@h"),
        // Sound: the `@` is one of the path.
        ("http://h:1/a@b", "http://h:1/a@b"),
        ("http://[::1]:1/a@b", "http://[::1]:1/a@b"),
        ("/v1/a@b", "/v1/a@b"),
        ("unix:/run/a@b", "unix:/run/a@b"),
        ("", ""),
    ] {
        assert_eq!(redact_url(url), shown);
    }
}

#[test]
fn names_of_secrets_are_distinguished_from_names_of_counts() {
    for name in [
        "api_key",
        "apiKey",
        "API-KEY",
        "Authorization",
        "hf_token",
        "x-api-key",
        "pwd",
        "clientSecret",
        "api_keys",
        "apiKeyValue",
        "AUTHORIZATION_HEADER",
        "APIKey",
        "aws_session_token",
        "access_tokens",
    ] {
        assert!(is_secret_name(name), "{name}");
    }
    for name in [
        "max_tokens",
        "tokenizer",
        "stop_token_ids",
        "prompt",
        "keyframes",
        "keys",
        "tokens",
        "header",
        "key_value",
        "access_key_id",
        "",
        "é",
        "skip-tokenizer-init",
    ] {
        assert!(!is_secret_name(name), "{name}");
    }
}

#[test]
fn secrets_are_left_out_of_foreign_text() {
    register("Bearer sk-known-0123");
    register("EMPTY");
    for (text, shown) in [
        ("invalid key sk-known-0123!", "invalid key ***!"),
        (
            "Incorrect API key provided: sk-k******0123. You can",
            "Incorrect API key provided: ***. You can",
        ),
        ("key sk-know... is unknown", "key *** is unknown"),
        ("key ...0123, key …0123", "key ***, key ***"),
        ("cut off: sk-known-0", "cut off: ***"),
        (
            "a list of sk-k and known... 0123",
            "a list of sk-k and known... 0123",
        ),
        ("wait... done.", "wait... done."),
        ("Bearer sk-known-0123", "***"),
        ("api key EMPTY is fine", "api key EMPTY is fine"),
        (
            "cannot reach http://me:pw@h:1/v1 or https://a@b",
            "cannot reach http://***@h:1/v1 or https://***@b",
        ),
        (
            "mail me@host, see http://h/@x",
            "mail me@host, see http://h/@x",
        ),
        ("://@ ://", "://***@ ://"),
    ] {
        assert_eq!(redact_text(text), shown);
        assert_eq!(redact_text(shown), shown, "twice is once");
    }
}

#[test]
fn json_is_shown_without_the_values_of_keys() {
    let mut value = json!({
        "max_tokens": 5, "api_key": "k", "a": [{"password": "p", "url": "http://u:p@h"}],
        "text": "{\"token\": \"t\", \"n\": 1}",
    });
    redact_json(&mut value);
    let shown = json!({
        "max_tokens": 5, "api_key": "***", "a": [{"password": "***", "url": "http://***@h"}],
        "text": "{\"token\":\"***\",\"n\":1}",
    });
    assert_eq!(value, shown);
}

#[test]
fn arguments_are_shown_without_secrets() {
    for (line, shown) in [
        (
            "run --header Authorization=Bearer-x Other=y --base-url https://me:pw@host/v1 --seed 1",
            "run --header Authorization=*** Other=*** --base-url https://***@host/v1 --seed 1",
        ),
        (
            "--api_key=k --api-key k --max-tokens 5",
            "--api_key=*** --api-key *** --max-tokens 5",
        ),
        (
            "--extra-body {\"api_key\":\"k\",\"n\":1}",
            "--extra-body {\"api_key\":\"***\",\"n\":1}",
        ),
        (
            "--endpoint /v1/x?key=k --tokenizer t",
            "--endpoint /v1/x?key=*** --tokenizer t",
        ),
        (
            "--metadata token=t gpu=h100",
            "--metadata token=*** gpu=h100",
        ),
        (
            "--result-dir out/SERVE--api_key=hidden",
            "--result-dir out/SERVE--api_key=hidden",
        ),
    ] {
        assert_eq!(redact_arguments(&words(line)).join(" "), shown);
    }
    let commands = [
        "--serve-cmd",
        "VLLM_API_KEY=k vllm serve m --api-key 'a b' --x \"c d\" --hf-token=t",
    ];
    assert_eq!(
        redact_arguments(&commands.map(str::to_owned))[1],
        "VLLM_API_KEY=*** vllm serve m --api-key '***' --x \"c d\" --hf-token=***"
    );
}

/// Command lines within arguments: the forms in which people start servers.
#[test]
fn command_lines_within_arguments_are_shown_without_secrets() {
    for (argument, shown) in [
        (
            "bash -c 'vllm serve m --api-key QZbash-key-1 --port 1'",
            "bash -c 'vllm serve m --api-key *** --port 1'",
        ),
        (
            "sh -c 'export HF_TOKEN=QZexport-2; vllm serve m'",
            "sh -c 'export HF_TOKEN=***; vllm serve m'",
        ),
        (
            "sh -c 'HF_TOKEN=QZvariable-3 vllm serve m'",
            "sh -c 'HF_TOKEN=*** vllm serve m'",
        ),
        (
            "bash -lc \"vllm serve m --api-key 'QZquoted-4'\"",
            "bash -lc \"vllm serve m --api-key '***'\"",
        ),
        (
            "sh -c \"x --header 'Authorization: Bearer QZheader-5' -v\"",
            "sh -c \"x --header 'Authorization: ***' -v\"",
        ),
        (
            "curl -H 'X-Tenant: QZtenant-6' -u me:QZuser-7 http://h",
            "curl -H 'X-Tenant: ***' -u *** http://h",
        ),
        ("sshpass -p QZpass-8 ssh h", "sshpass -p *** ssh h"),
        (
            "/usr/bin/sshpass -pQZpass-9 ssh h",
            "/usr/bin/sshpass -p*** ssh h",
        ),
        (
            "ssh h \"sh -c 'x --api-key QZdeep-10'\"",
            "ssh h \"sh -c 'x --api-key ***'\"",
        ),
        (
            "vllm serve m --api-key QZbefore-11 && sleep 5",
            "vllm serve m --api-key *** && sleep 5",
        ),
        (
            "docker run -e HF_TOKEN=QZdocker-12 -p 8000:8000 i",
            "docker run -e HF_TOKEN=*** -p 8000:8000 i",
        ),
        ("sh -c 'x --api-key QZopen-13", "sh -c x --api-key ***"),
        (
            "sh -c 'vllm serve m --port 1; echo done'",
            "sh -c 'vllm serve m --port 1; echo done'",
        ),
    ] {
        let arguments = ["--serve-cmd".to_owned(), argument.to_owned()];
        assert_eq!(redact_arguments(&arguments)[1], shown);
        let again = ["--serve-cmd".to_owned(), shown.to_owned()];
        assert_eq!(redact_arguments(&again)[1], shown, "twice is once");
        register_arguments(&arguments);
        if let Some(at) = argument.find("QZ") {
            let end = argument[at..]
                .find([' ', '\'', ';'])
                .map_or(argument.len(), |end| at + end);
            assert_eq!(redact_text(&argument[at..end]), "***", "{argument}");
        }
    }
    // As a shell's split leaves them.
    let words = ["sh", "-c", "HF_TOKEN=QZsplit-14 vllm --api-key QZsplit-15"];
    assert_eq!(
        redact_arguments(&words.map(str::to_owned))[2],
        "HF_TOKEN=*** vllm --api-key ***"
    );
    assert_eq!(redact_text("python3 sleep done"), "python3 sleep done");
}

#[test]
fn values_that_users_attach_are_stored_without_secrets() {
    register("QZof-the-environment-1");
    for (name, value, shown) in [
        ("api_key", "P", "***"),
        ("url", "https://me:P@host/x", "https://***@host/x"),
        ("note", "bearer P", "bearer ***"),
        ("note", "with basic dXNlcjpw1= here", "with basic *** here"),
        ("note", "Basic load test", "Basic load test"),
        ("note", "key QZof-the-environment-1", "key ***"),
        (
            "config",
            "{\"token\": \"t\", \"n\": 1}",
            "{\"token\":\"***\",\"n\":1}",
        ),
        ("gpu", "h100", "h100"),
        ("note", "it's 5 o'clock", "it's 5 o'clock"),
        ("commit", "a=b c", "a=b c"),
    ] {
        assert_eq!(plain_value(name, value), shown);
    }
}

/// What a server shows of a key in place of the key: each text was shown by a client before.
#[test]
fn a_key_is_found_in_every_form_that_servers_repeat() {
    let odd = "tk-ab+cd/9X\"q\\zz7Qw&Lm=PoTy";
    let plain = "qk-proj-abcd9XqzzQwLmPoTyKk88";
    register(odd);
    register(plain);
    let escaped = odd.replace('\\', "\\\\").replace('"', "\\\"");
    let within_json = escaped.replace('\\', "\\\\").replace('"', "\\\"");
    let html = odd.replace('&', "&amp;").replace('"', "&quot;");
    let percent = "tk-ab%2Bcd%2F9X%22q%5Czz7Qw%26Lm%3DPoTy";
    for form in [
        odd,
        &escaped,
        &within_json,
        &escaped.replace('+', "\\u002b"),
        &escaped
            .replace('+', "\\u002B")
            .replace('/', "\\/")
            .replace('&', "\\u0026"),
        &html,
        &html.replace('+', "&#43;").replace('=', "&#x3d;"),
        percent,
        &percent.to_ascii_lowercase(),
        &percent.replace("%2F", "/"),
        &odd.to_ascii_uppercase(),
        plain,
        &plain.to_ascii_uppercase(),
        &plain[8..],
        &STANDARD.encode(plain),
        STANDARD.encode(plain).trim_end_matches('='),
        &STANDARD.encode(odd),
        &base64::engine::general_purpose::URL_SAFE.encode(odd),
        &format!("{}[...]{}", &plain[..6], &plain[23..]),
        &format!("{}[redacted]{}", &plain[..6], &plain[23..]),
        &format!("{}xxxxxxxxx{}", &plain[..8], &plain[23..]),
        &format!("{}********{}", &plain[..8], &plain[25..]),
    ] {
        let text = format!("bad key: {form} is refused");
        let shown = redact_text(&text);
        let left = shown
            .trim_start_matches("bad key: ")
            .trim_end_matches(" is refused");
        // Padding and a prefix are all that may be left.
        assert!(left.replace("***", "").len() <= 2, "{form} became {shown}");
        assert_eq!(redact_text(&shown), shown, "twice is once");
    }
    let header = STANDARD.encode(format!("Authorization: {plain}"));
    assert!(redact_text(&header).contains("***"), "{header}");
    for innocent in [
        "a list of abcd and zz7Q",
        "xxx, [...] and (hidden) things",
        "max_tokens",
    ] {
        assert_eq!(redact_text(innocent), innocent);
        assert_eq!(without_secrets(innocent), None);
    }
}

#[test]
fn passwords_within_credentials_are_known() {
    register("Basic dXNlcjpRWnB3MTIzNDU2");
    register_url("http://QZtok12345678@host/v1?code=QZcode12345678&model=llama-3-70b-instruct");
    register_url("http://admin:pa%2Fss-word99@host");
    for (text, shown) in [
        ("user QZpw123456 refused", "user *** refused"),
        ("user QZtok12345678 refused", "user *** refused"),
        ("auth UVp0b2sxMjM0NTY3ODo=", "auth ***Do="),
        (
            "Cannot POST /v1?code=QZcode12345678",
            "Cannot POST /v1?code=***",
        ),
        (
            "the model llama-3-70b-instruct",
            "the model llama-3-70b-instruct",
        ),
        ("admin has pa%2Fss-word99", "admin has ***"),
        (
            "see https://x.example/a?X-Amz-Signature=abc1&n=5&sig=d#e",
            "see https://x.example/a?X-Amz-Signature=***&n=5&sig=***#e",
        ),
    ] {
        assert_eq!(redact_text(text), shown);
        assert_eq!(redact_text(shown), shown, "twice is once");
    }
}

#[test]
fn all_that_is_under_a_secrets_name_is_left_out() {
    for (value, shown) in [
        (
            json!({"api_keys": ["k1", "k2"]}),
            json!({"api_keys": ["***", "***"]}),
        ),
        (
            json!({"credentials": {"value": "v", "n": [1, true, null]}}),
            json!({"credentials": {"value": "***", "n": [1, true, null]}}),
        ),
        (
            json!({"password": 987_654_321_234_u64}),
            json!({"password": "***"}),
        ),
        (
            json!({"eos_token": 2, "per_token": 0.125}),
            json!({"eos_token": 2, "per_token": 0.125}),
        ),
        (
            json!({"webhook": "https://u:p@h/x?token=t&n=1"}),
            json!({"webhook": "https://***@h/x?token=***&n=1"}),
        ),
        (
            json!({"headers": [{"name": "Authorization", "value": "Bearer x"}, {"name": "n", "value": "v"}]}),
            json!({"headers": [{"name": "Authorization", "value": "***"}, {"name": "n", "value": "v"}]}),
        ),
        (
            json!({"headers": [["Authorization", "Bearer x"], "X-Api-Key: k", "Accept: y"]}),
            json!({"headers": [["Authorization", "***"], "X-Api-Key: ***", "Accept: y"]}),
        ),
        (
            json!({"function": {"name": "get_token", "description": "d"}, "required": ["password", "username"]}),
            json!({"function": {"name": "get_token", "description": "d"}, "required": ["password", "username"]}),
        ),
    ] {
        let mut redacted = value;
        redact_json(&mut redacted);
        assert_eq!(redacted, shown);
    }
    register_json(&json!({
        "credentials": {"type": "service_account", "value": "QZobject12345678"},
        "api_key": ["QZlisted-in-words"],
        "headers": [{"name": "X-Api-Key", "value": "QZheader-in-words"}],
        "webhook": "https://h/x?token=QZquery-in-words",
        "pin_token": 987_654_321_235_u64,
    }));
    for secret in [
        "QZobject12345678",
        "QZlisted-in-words",
        "QZheader-in-words",
        "QZquery-in-words",
        "987654321235",
    ] {
        assert_eq!(redact_text(secret), "***");
    }
    assert_eq!(redact_text("a service_account"), "a service_account");
}

/// What [`redact_json`] hides is also left out where a server repeats it.
#[test]
fn what_is_hidden_in_json_is_known() {
    let value = json!({
        "credentials": {"user": "me", "pw": "QZtr0ub-3xyz", "more": ["QZplainly", {"deep": "QZdeeply in"}]},
        "nested": "{\"token\": \"QZnested-token\"}",
        "lines": ["X-Api-Key: QZline-of-words", "key: a sentence of words"],
    });
    register_json(&value);
    for secret in [
        "QZtr0ub-3xyz",
        "QZplainly",
        "QZdeeply in",
        "QZnested-token",
        "QZline-of-words",
    ] {
        assert_eq!(redact_text(secret), "***");
    }
    assert_eq!(redact_text("a sentence of words"), "a sentence of words");
}

#[test]
fn secrets_of_a_query_are_known_as_a_server_decodes_them() {
    register_url(
        "/v1?sv=2024&sig=4QzX%2B9aB3dE5%2FoP2qR4s%3D&pass=QZtwo+words%21&api%5Fkey=QZencodedname&debug",
    );
    register_url("/v1?QZNAKED77a1b2c3");
    register_url("http://h/v1?qz-naked-of-words-only#part");
    register_url("/v1?a=1;code=QZsemicolon");
    register_url("http://me:QZpass%40word%2F1@h/v1");
    for secret in [
        "4QzX%2B9aB3dE5%2FoP2qR4s%3D",
        "4QzX+9aB3dE5/oP2qR4s=",
        "QZtwo words!",
        "QZtwo+words!",
        "QZtwo+words%21",
        "QZencodedname",
        "QZNAKED77a1b2c3",
        "qz-naked-of-words-only",
        "QZsemicolon",
        "QZpass@word/1",
        "QZpass%40word%2F1",
    ] {
        assert_eq!(redact_text(secret), "***", "{secret}");
    }
    assert_eq!(redact_text("sv=2024&debug"), "sv=2024&debug");
    assert_eq!(
        redact_text("see http://h/x?api%5Fkey=k"),
        "see http://h/x?api%5Fkey=***"
    );
}
