use super::*;

#[test]
fn only_a_path_can_repeat_the_endpoint() {
    for (url, endpoint, base) in [
        ("http://h:1", "/v1/completions", Some("http://h:1")),
        ("http://h:1/", "/v1/completions", Some("http://h:1")),
        ("http://h:1/api", "/v1/completions", Some("http://h:1/api")),
        ("http://v1", "/v1/completions", Some("http://v1")),
        ("http://h:1/v1", "/v1/completions", None),
        ("http://h:1/v1/completions", "/v1/completions", None),
        ("http://h:1", "é/x", Some("http://h:1")),
        ("http://h:1", "/é/x", Some("http://h:1")),
    ] {
        assert_eq!(
            without_endpoint(url, endpoint).ok().as_deref(),
            base,
            "{url} {endpoint}"
        );
    }
}
