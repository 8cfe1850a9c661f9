//! The Prometheus text format, as far as a reader of a server's `/metrics` page needs it.
//!
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>; exemplars and the
//! closing `# EOF` of OpenMetrics are skipped. A line that cannot be read is counted, not fatal:
//! one odd line must not hide all others.

/// Bytes of a page that are read at most.
pub const MAX_PAGE_BYTES: usize = 32 << 20;
/// Samples of a page that are kept at most.
pub const MAX_SAMPLES: usize = 500_000;

/// The samples of one page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    samples: Vec<Sample>,
    unread: usize,
}

/// One value with its name and labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Name, such as `vllm:num_requests_running`.
    pub name: String,
    /// Labels in the page's order.
    pub labels: Vec<(String, String)>,
    /// Value; may be infinite or not a number.
    pub value: f64,
}

impl Sample {
    /// The value of label `name`.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Page {
    /// Reads a page.
    pub fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut end = text.len().min(MAX_PAGE_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        for line in text[..end].lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match parse_sample(line) {
                Some(sample) if page.samples.len() < MAX_SAMPLES => page.samples.push(sample),
                _ => page.unread += 1,
            }
        }
        page
    }

    /// All samples in the page's order.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Lines that could not be read, or were over the limit.
    pub fn unread_lines(&self) -> usize {
        self.unread
    }

    /// The samples named `name`.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> + 'a {
        self.samples
            .iter()
            .filter(move |sample| sample.name == name)
    }

    /// The sum of `name` over all label sets, such as the ranks of a parallel engine.
    pub fn sum(&self, name: &str) -> Option<f64> {
        let mut values = self.named(name).map(|sample| sample.value).peekable();
        values.peek()?;
        Some(values.sum())
    }

    /// The largest value of `name` over all label sets.
    pub fn max(&self, name: &str) -> Option<f64> {
        self.named(name)
            .map(|sample| sample.value)
            .max_by(f64::total_cmp)
    }
}

/// `name{label="value",…} value [timestamp]`.
fn parse_sample(line: &str) -> Option<Sample> {
    let name_end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(name_end);
    if name.is_empty() {
        return None;
    }
    let (labels, rest) = match rest.trim_start().strip_prefix('{') {
        Some(inside) => parse_labels(inside)?,
        None => (Vec::new(), rest),
    };
    // A time stamp or an exemplar may follow the value.
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// The labels up to the closing brace, and what follows it.
fn parse_labels(mut text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        text = text.trim_start_matches(|c: char| c == ',' || c.is_whitespace());
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, rest) = text.split_once('=')?;
        let (value, rest) = parse_quoted(rest.trim_start().strip_prefix('"')?)?;
        labels.push((name.trim().to_owned(), value));
        text = rest;
    }
}

/// A label value up to its closing quote, with `\\`, `\"` and `\n` resolved, and what follows.
fn parse_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_of_a_line_is_read() {
        let page = Page::parse(
            "# HELP a Help \"text\" {b} 1\n# TYPE a counter\na 1\na{} 2\n  a { x = \"1\" , y=\"q\\\"\\\\\\n}\", } 3e2 1395066363000\n\
             h_bucket{le=\"+Inf\"} +Inf # {trace=\"x\"} 0.5\nn NaN\nm -Inf\nbroken{\nbroken 1.2.3\nx{a=\"b} 1\n# EOF\n",
        );
        let values: Vec<_> = page.named("a").map(|sample| sample.value).collect();
        assert_eq!(values, [1.0, 2.0, 300.0]);
        assert_eq!(page.sum("a"), Some(303.0));
        assert_eq!(page.max("a"), Some(300.0));
        let last = page.named("a").last().unwrap();
        assert_eq!(
            (last.label("x"), last.label("y"), last.label("z")),
            (Some("1"), Some("q\"\\\n}"), None)
        );
        assert_eq!(page.sum("h_bucket"), Some(f64::INFINITY));
        assert!(page.sum("n").unwrap().is_nan());
        assert_eq!(page.sum("m"), Some(f64::NEG_INFINITY));
        assert_eq!(page.sum("none"), None);
        assert_eq!(page.unread_lines(), 3);
    }

    fn escape(value: &str) -> String {
        value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    }

    proptest! {
        #[test]
        fn any_samples_read_back_the_same(
            samples in prop::collection::vec(
                ("[a-z_:][a-z0-9_:]{0,9}", prop::collection::vec(("[a-z_]{1,5}", "[^\r]{0,9}"), 0..4), -1e300..1e300),
                0..20,
            )
        ) {
            let mut text = String::new();
            for (name, labels, value) in &samples {
                let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escape(v))).collect();
                writeln!(text, "{name}{{{}}} {value:e}", labels.join(",")).unwrap();
            }
            // Line separators that only Unicode knows are no line ends, which `lines` respects.
            let page = Page::parse(&text);
            let read: Vec<_> =
                page.samples().iter().map(|s| (s.name.clone(), s.labels.clone(), s.value)).collect();
            prop_assert_eq!(read, samples);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "(?s).{0,200}") {
            let page = Page::parse(&text);
            prop_assert!(page.samples().len() + page.unread_lines() <= text.lines().count());
        }
    }
}
