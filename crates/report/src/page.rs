//! HTML pages of one file: everything is inside, so that they work from disk without a network.

use serde_json::Value;

use crate::Lang;
use crate::chart::escape;

const ECHARTS: &str = include_str!("../assets/echarts/echarts.min.js");
const ECHARTS_NOTICE: &str = include_str!("../assets/echarts/NOTICE");
const ZRENDER_LICENSE: &str = include_str!("../assets/echarts/LICENSE-zrender");
const D3_LICENSE: &str = include_str!("../assets/echarts/LICENSE-d3");
const STYLE: &str = include_str!("../assets/html/style.css");
const UI: &str = include_str!("../assets/html/ui.js");

/// A page with a header (`top`), a body (`main`), its data, and the scripts that fill them.
pub(crate) struct Page<'a> {
    pub(crate) title: &'a str,
    pub(crate) lang: Lang,
    /// What the scripts read.
    pub(crate) data: &'a Value,
    /// Scripts after the shared ones.
    pub(crate) scripts: &'a [&'a str],
    /// True to leave out the chart library, which makes up most of a page's size.
    pub(crate) plain: bool,
}

impl Page<'_> {
    pub(crate) fn to_html(&self) -> String {
        let data = json_for_script(self.data);
        let mut out = String::with_capacity(ECHARTS.len() + data.len() + 65_536);
        out.push_str("<!doctype html>\n<html lang=\"");
        out.push_str(self.lang.code());
        out.push_str(
            "\" data-theme=\"light\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
             script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:\">\n\
             <link rel=\"icon\" href=\"data:,\">\n<title>",
        );
        out.push_str(&escape(self.title));
        out.push_str("</title>\n<style>\n");
        out.push_str(STYLE);
        out.push_str(
            "</style>\n</head>\n<body>\n<div class=\"top\" id=\"top\"></div>\n<main id=\"main\"></main>\n",
        );
        out.push_str("<noscript><main><p>This page draws its charts with JavaScript, which is disabled.</p></main></noscript>\n");
        out.push_str("<script type=\"application/json\" id=\"data\">");
        out.push_str(&data);
        out.push_str("</script>\n");
        if !self.plain {
            out.push_str("<!--\n");
            for notice in [
                ECHARTS_NOTICE,
                "Licensed under the Apache License 2.0.",
                ZRENDER_LICENSE,
                D3_LICENSE,
            ] {
                // Two dashes would end the comment.
                out.push_str(&notice.replace("--", "- -"));
                out.push('\n');
            }
            out.push_str("-->\n<script>");
            out.push_str(ECHARTS);
            out.push_str("</script>\n");
        }
        for script in std::iter::once(&UI).chain(self.scripts) {
            out.push_str("<script>\n");
            out.push_str(script);
            out.push_str("</script>\n");
        }
        out.push_str("</body>\n</html>\n");
        out
    }
}

/// JSON that a browser cannot mistake for markup: `<`, `>` and `&` become escapes inside its strings.
fn json_for_script(value: &Value) -> String {
    let text = value.to_string();
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            other => out.push(other),
        }
    }
    out
}

/// A number short enough for a page: six significant digits.
pub(crate) fn short(value: f64) -> Value {
    if value == 0.0 || !value.is_finite() {
        return if value.is_finite() {
            Value::from(0)
        } else {
            Value::Null
        };
    }
    let places = 5 - value.abs().log10().floor() as i32;
    let factor = 10_f64.powi(places);
    // Dividing keeps decimal fractions short, which multiplying by a negative power would not.
    let rounded = (value * factor).round() / factor;
    if !rounded.is_finite() {
        return Value::from(value);
    }
    if rounded.fract() == 0.0 && rounded.abs() < 9e15 {
        Value::from(rounded as i64)
    } else {
        Value::from(rounded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn data_cannot_escape_from_its_script() {
        let text = json_for_script(&json!({"a": "</script><script>alert(1)//&"}));
        assert!(!text.contains(['<', '>', '&']), "{text}");
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap()["a"],
            "</script><script>alert(1)//&"
        );
    }

    #[test]
    fn numbers_are_short_but_exact_enough() {
        assert_eq!(short(123.456_789).to_string(), "123.457");
        assert_eq!(short(0.000_123_456_789).to_string(), "0.000123457");
        assert_eq!(short(1_234_567.0).to_string(), "1234570");
        assert_eq!(short(f64::NAN), Value::Null);
    }

    #[test]
    fn a_page_loads_nothing_from_outside() {
        let page = Page {
            title: "<t>",
            lang: Lang::Zh,
            data: &json!({}),
            scripts: &[],
            plain: false,
        }
        .to_html();
        assert!(page.contains("<title>&lt;t&gt;</title>"));
        for tag in ["src=", "href=\"http", "@import", "url(http"] {
            let own = page.replace(ECHARTS, "");
            assert!(!own.contains(tag), "{tag}");
        }
    }
}
