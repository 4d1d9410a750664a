//! The two formats, as they are documented, and as nobody should write them.

use super::*;
use proptest::prelude::*;

fn read(text: &str) -> (Vec<Sample<'_>>, Vec<BadLine>) {
    let (samples, bad, _) = read_as(Format::Text, text);
    (samples, bad)
}

fn read_as(format: Format, text: &str) -> (Vec<Sample<'_>>, Vec<BadLine>, LeftOut) {
    let (mut samples, mut bad) = (Vec::new(), Vec::new());
    let left_out = parse(text.as_bytes(), format, |line| match line {
        Ok(sample) => samples.push(sample),
        Err(line) => bad.push(line),
    });
    (samples, bad, left_out)
}

/// The example of the format's documentation, whole.
const DOCUMENTED: &str = r##"# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9

# Minimalistic line:
metric_without_timestamp_and_labels 12.47

# A weird metric from before the epoch:
something_weird{problem="division by zero"} +Inf -3982045

# A histogram, which has a pretty complex representation in the text format:
# HELP http_request_duration_seconds A histogram of the request duration.
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{le="0.05"} 24054
http_request_duration_seconds_bucket{le="0.1"} 33444
http_request_duration_seconds_bucket{le="0.2"} 100392
http_request_duration_seconds_bucket{le="0.5"} 129389
http_request_duration_seconds_bucket{le="1"} 133988
http_request_duration_seconds_bucket{le="+Inf"} 144320
http_request_duration_seconds_sum 53423
http_request_duration_seconds_count 144320

# Finally a summary, which has a complex representation, too:
# HELP rpc_duration_seconds A summary of the RPC duration in seconds.
# TYPE rpc_duration_seconds summary
rpc_duration_seconds{quantile="0.01"} 3102
rpc_duration_seconds{quantile="0.05"} 3272
rpc_duration_seconds{quantile="0.5"} 4773
rpc_duration_seconds{quantile="0.9"} 9001
rpc_duration_seconds{quantile="0.99"} 76656
rpc_duration_seconds_sum 1.7560473e+07
rpc_duration_seconds_count 2693
"##;

#[test]
fn the_documented_example_is_read_whole() {
    let (samples, bad) = read(DOCUMENTED);
    assert_eq!((samples.len(), bad.len()), (20, 0), "{bad:?}");
    let of = |name: &str| samples.iter().filter(|sample| sample.name == name).collect::<Vec<_>>();
    let requests = of("http_requests_total");
    assert_eq!(requests[0].kind, MetricKind::Counter);
    assert_eq!((requests[0].value, requests[0].timestamp_ms), (1027.0, Some(1_395_066_363_000)));
    let labels = parse_labels(of("msdos_file_access_time_seconds")[0].labels).unwrap();
    assert_eq!(labels.get("path"), Some("C:\\DIR\\FILE.TXT"));
    assert_eq!(labels.get("error"), Some("Cannot find file:\n\"FILE.TXT\""));
    assert_eq!(of("something_weird")[0].value, f64::INFINITY);
    assert_eq!(of("something_weird")[0].timestamp_ms, Some(-3_982_045));
    let buckets = of("http_request_duration_seconds_bucket");
    assert_eq!((buckets.len(), buckets[0].kind), (6, MetricKind::Bucket));
    assert_eq!(of("http_request_duration_seconds_sum")[0].kind, MetricKind::Counter);
    assert_eq!(of("rpc_duration_seconds")[0].kind, MetricKind::Gauge);
    assert_eq!(of("rpc_duration_seconds_count")[0].kind, MetricKind::Counter);
}

#[test]
fn a_wrong_line_costs_itself_alone() {
    // One row a way of being wrong.
    let wrong = [
        "no_value",
        "no_number x",
        "9name 1",
        "open{a=\"b\" 1",
        "too many words 1 2 3",
        "late 1 1.5",
        "# TYPE a counter gauge",
        "# TYPE a wheel",
        "{} 1",
    ];
    for line in wrong {
        let text = format!("before 1\n{line}\nafter 2");
        let (samples, bad) = read(&text);
        assert_eq!(samples.len(), 2, "{line}");
        assert_eq!(bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [2], "{line}");
    }
    for labels in ["a", "a=", "a=b", "a=\"b", "a=\"b\"c=\"d\"", "9=\"b\"", "a=\"\",a=\"\"", ",", "a=\"b\\"] {
        assert!(parse_labels(labels).is_err(), "{labels}");
    }
    assert_eq!(parse_labels(" a = \"}\" , ").unwrap().to_string(), "{a=\"}\"}");
}

#[test]
fn blanks_and_braces_do_not_lead_it_astray() {
    let (samples, bad) = read("\t a {x=\"}\\\"{\" } \t1\r\n  \nb{} NaN\nc_total 5\n");
    assert_eq!(bad, []);
    assert_eq!((samples[0].name, samples[0].value), ("a", 1.0));
    assert_eq!(parse_labels(samples[0].labels).unwrap().get("x"), Some("}\"{"));
    assert!(samples[1].value.is_nan());
    assert_eq!(samples[2].kind, MetricKind::Counter, "by its name, for want of a type");
}

/// The examples of OpenMetrics 1.0, sections "Overall structure" and "Exemplars", with one family of each further type.
const OPEN_METRICS: &str = r##"# TYPE acme_http_router_request_seconds summary
# UNIT acme_http_router_request_seconds seconds
# HELP acme_http_router_request_seconds Latency though all of ACME's HTTP request router.
acme_http_router_request_seconds_sum{path="/api/v1",method="GET"} 9036.32
acme_http_router_request_seconds_count{path="/api/v1",method="GET"} 807283.0
acme_http_router_request_seconds_created{path="/api/v1",method="GET"} 1605281325.0
# TYPE go_goroutines gauge
# HELP go_goroutines Number of goroutines that currently exist.
go_goroutines 69
# TYPE process_cpu_seconds counter
# UNIT process_cpu_seconds seconds
# HELP process_cpu_seconds Total user and system CPU time spent in seconds.
process_cpu_seconds_total 4.20072246e+06
# TYPE foo histogram
foo_bucket{le="0.01"} 0
foo_bucket{le="0.1"} 8 # {} 0.054
foo_bucket{le="1"} 11 # {trace_id="KOO5S4vxi0o"} 0.67
foo_bucket{le="10"} 17 1520879600.25 # {trace_id="oHg5SJ # }YRHA0"} 9.8 1520879607.789
foo_bucket{le="+Inf"} 17
foo_count 17
foo_sum 324789.3
foo_created 1520430000.123
# TYPE build info
build_info{version="1.2 # 3"} 1
# TYPE mode stateset
mode{mode="on"} 1
mode{mode="off"} 0
# TYPE queue_bytes gaugehistogram
# UNIT queue_bytes bytes
queue_bytes_bucket{le="+Inf"} 4
queue_bytes_gcount 4
queue_bytes_gsum 40
# TYPE made counter
made_total 1 1.5
made_created 1e9
# TYPE odd_created gauge
odd_created 3
# TYPE nothing unknown
nothing 5
# EOF
"##;

#[test]
fn openmetrics_is_read_whole() {
    let (samples, bad, left_out) = read_as(Format::OpenMetrics, OPEN_METRICS);
    assert_eq!((bad, left_out), (Vec::new(), LeftOut { exemplars: 3, created: 3 }));
    // Name, how many, kind, unit.
    let rows = [
        ("acme_http_router_request_seconds_sum", 1, MetricKind::Counter, "seconds"),
        ("acme_http_router_request_seconds_count", 1, MetricKind::Counter, ""),
        ("go_goroutines", 1, MetricKind::Gauge, ""),
        ("process_cpu_seconds_total", 1, MetricKind::Counter, "seconds"),
        ("foo_bucket", 5, MetricKind::Bucket, ""),
        ("foo_count", 1, MetricKind::Counter, ""),
        ("foo_sum", 1, MetricKind::Counter, ""),
        ("build_info", 1, MetricKind::Gauge, ""),
        ("mode", 2, MetricKind::Gauge, ""),
        ("queue_bytes_bucket", 1, MetricKind::Gauge, ""),
        ("queue_bytes_gcount", 1, MetricKind::Gauge, ""),
        ("queue_bytes_gsum", 1, MetricKind::Gauge, "bytes"),
        ("made_total", 1, MetricKind::Counter, ""),
        ("odd_created", 1, MetricKind::Gauge, ""),
        ("nothing", 1, MetricKind::Gauge, ""),
    ];
    for (name, n, kind, unit) in rows {
        let of: Vec<_> = samples.iter().filter(|sample| sample.name == name).collect();
        assert_eq!(of.len(), n, "{name}");
        assert!(of.iter().all(|sample| (sample.kind, sample.unit) == (kind, unit)), "{name}: {of:?}");
    }
    assert_eq!(samples.len(), rows.iter().map(|row| row.1).sum::<usize>());
    let at = |name: &str, n: usize| samples.iter().filter(|s| s.name == name).nth(n).unwrap().timestamp_ms;
    assert_eq!((at("foo_bucket", 3), at("made_total", 0)), (Some(1_520_879_600_250), Some(1500)));
    assert_eq!(parse_labels(samples.iter().find(|s| s.name == "build_info").unwrap().labels).unwrap().len(), 1);
}

#[test]
fn what_openmetrics_does_not_allow_costs_its_line() {
    for line in ["a # {} 1", "a 1 1e300", "a 1 NaN", "# UNIT", "# UNIT a b c"] {
        let text = format!("before 1\n{line}\nafter 2\n# EOF\n");
        let (samples, bad, left_out) = read_as(Format::OpenMetrics, &text);
        assert_eq!((samples.len(), bad.len(), left_out), (2, 1, LeftOut::default()), "{line}: {bad:?}");
    }
    // The older format has no end, and its times are whole milliseconds.
    let (samples, bad, _) = read_as(Format::Text, "a 1 # {} 1\n# EOF\nb 1 2000\nc 1 1.5");
    assert_eq!((samples.len(), samples[1].timestamp_ms, bad.len()), (2, Some(2000), 1));
    let (samples, bad, _) = read_as(Format::OpenMetrics, "a 1\n# EOF\nb 2\n\n");
    assert_eq!((samples.len(), bad.len()), (1, 1));
}

#[test]
fn what_is_left_out_may_look_like_anything() {
    for format in [Format::Text, Format::OpenMetrics] {
        for line in [
            "a 1 # {\"net.scheme\"=\"tcp\"} 1.0",
            "a 1 # {trace_id=\"x\"",
            "a 1 # {trace_id=x} 1 2 3",
            "a 1 # trace_id",
            "a 1 # {} x # {y",
            "a{b=\"#\"} 1 #",
        ] {
            let (samples, bad, left_out) = read_as(format, line);
            assert_eq!((samples.len(), bad), (1, Vec::new()), "{line}");
            assert_eq!((samples[0].value, left_out.exemplars), (1.0, 1), "{line}");
        }
        let (samples, bad, left_out) = read_as(format, "a_total 1 st@1520430000.123 # {} 2");
        assert_eq!((samples[0].value, bad.len(), left_out), (1.0, 0, LeftOut { exemplars: 1, created: 1 }));
    }
}

#[test]
fn names_in_quotes_are_read_as_prometheus_escapes_them() {
    let text = "# TYPE \"http.requests\" counter\n{\"http.requests\",\"http.method\"=\"G}E\\\"T\",b=\"=\"} 12 3\n\
                # UNIT \"a b\" bytes\n{\"a b\"} 1\n{ \"4xx\" , } 2\nplain{\"c d\"=\"e\"} 3\n";
    let (samples, bad) = read(text);
    assert_eq!(bad, []);
    let names: Vec<&str> = samples.iter().map(|sample| sample.name).collect();
    assert_eq!(names, ["http.requests", "a b", "4xx", "plain"]);
    assert_eq!((samples[0].kind, samples[1].unit), (MetricKind::Counter, "bytes"));
    let labels: Vec<String> = samples.iter().map(|s| parse_labels(s.labels).unwrap().to_string()).collect();
    assert_eq!(labels, ["{b=\"=\",http_method=\"G}E\\\"T\"}", "{}", "{}", "{c_d=\"e\"}"]);
    for line in ["{\"a\" 1", "{\"\"} 1", "{a=\"b\"} 1", "{\"a\\\"b\"} 1", "{\"a\"=\"b\"} 1"] {
        let text = format!("before 1\n{line}\nafter 2");
        let bad = read(&text).0.iter().filter(|sample| parse_labels(sample.labels).is_ok()).count();
        assert_eq!(bad, 2, "{line}");
    }
    assert!(parse_labels("\"a.b\"=\"1\",a_b=\"2\"").is_err(), "two labels of one name");
    // A label without a value is none.
    assert_eq!(parse_labels("a=\"\",b=\"1\"").unwrap().to_string(), "{b=\"1\"}");
}

#[test]
fn the_type_of_the_content_says_which_format_it_is_and_the_end_whether_it_is_whole() {
    use Format::{OpenMetrics, Text};
    for (content_type, format) in [
        (None, Some(Text)),
        (Some("text/plain; version=0.0.4; charset=utf-8"), Some(Text)),
        (Some("Application/OpenMetrics-Text; version=1.0.0"), Some(OpenMetrics)),
        (Some("text/html"), None),
        (Some("application/vnd.google.protobuf; encoding=delimited"), None),
    ] {
        assert_eq!(Format::of(content_type).ok(), format, "{content_type:?}");
    }
    for (text, whole) in [
        ("# EOF", true),
        ("a 1\n# EOF\n", true),
        ("a 1\r\n# EOF\r\n", true),
        ("", false),
        ("a 1\n", false),
        ("a 1 # EOF\n", false),
        ("a 1\n# EOF\nb 2\n", false),
    ] {
        assert_eq!(OpenMetrics.is_whole(text.as_bytes()), whole, "{text:?}");
        assert!(Text.is_whole(text.as_bytes()));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..600)) {
        for format in [Format::Text, Format::OpenMetrics] {
            parse(&body, format, |line| {
                if let Ok(sample) = line {
                    let _ = parse_labels(sample.labels);
                }
            });
        }
    }

    #[test]
    fn text_like_the_format_is_read_without_a_panic(text in "([a-z]{1,3}|[{}\"\\\\=, \n#]|TYPE|UNIT|EOF|_total|[0-9.]{1,3}){0,60}") {
        read(&text);
        read_as(Format::OpenMetrics, &text);
    }

    #[test]
    fn what_was_written_is_read_back(
        name in "[a-zA-Z_:][a-zA-Z0-9_:]{0,12}",
        labels in prop::collection::btree_map("[a-zA-Z_][a-zA-Z0-9_]{0,6}", "\\PC{0,8}|[\\\\\"\n]{0,4}", 0..5),
        value in any::<f64>(),
        at in prop::option::of(any::<i64>()),
    ) {
        let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let inside: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escape(v))).collect();
        let time = at.map_or(String::new(), |at| format!(" {at}"));
        let text = format!("{name}{{{}}} {value}{time}\n", inside.join(","));
        let (samples, bad) = read(&text);
        prop_assert_eq!(bad, []);
        prop_assert_eq!((samples.len(), samples[0].name, samples[0].timestamp_ms), (1, name.as_str(), at));
        prop_assert!(samples[0].value == value || value.is_nan() && samples[0].value.is_nan());
        prop_assert_eq!(parse_labels(samples[0].labels).unwrap(), labels.into_iter().filter(|(_, value)| !value.is_empty()).collect::<Labels>());
    }
}
