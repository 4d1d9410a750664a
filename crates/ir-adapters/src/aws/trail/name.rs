//! What AWS calls things: in configurations, and in the calls that change them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::record::Record;

/// So many names of one record are looked at; one that has more names most of them in vain.
const MAX_NAMES: usize = 256;

/// The parameters by which the calls of a service name a thing.
const NAMED: [(&str, &[&str]); 13] = [
    ("appconfig", &["applicationId"]),
    ("autoscaling", &["autoScalingGroupName"]),
    ("cloudformation", &["stackName"]),
    ("codedeploy", &["applicationName"]),
    ("codepipeline", &["name", "pipelineName"]),
    ("dynamodb", &["tableName"]),
    ("elasticache", &["cacheClusterId", "replicationGroupId"]),
    ("kinesis", &["streamName"]),
    ("lambda", &["functionName"]),
    ("rds", &["dBInstanceIdentifier", "dBClusterIdentifier"]),
    ("s3", &["bucketName"]),
    ("secretsmanager", &["secretId"]),
    ("ssm", &["name"]),
];

/// Services whose calls name things of EC2, and the parameters that hold their ids in lists.
const WITH_IDS: [&str; 3] = ["autoscaling", "ec2", "ssm"];
const LISTS_OF_IDS: [&str; 4] = ["instanceIds", "instancesSet", "parameters", "targets"];

/// A name of a configuration in the form in which names are compared; or what is wrong with it.
pub(super) fn checked(name: &str) -> Result<String, String> {
    let (service, rest) = name.split_once(':').unwrap_or_default();
    let is_word =
        !service.is_empty() && service.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !is_word || rest.is_empty() || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("must be like `ecs:CLUSTER/SERVICE` or `ec2:sg-...`, or an ARN".to_owned());
    }
    if service == "ecs" && !rest.contains('/') {
        return Err("a service of ECS is called `ecs:CLUSTER/SERVICE`".to_owned());
    }
    Ok(if service == "arn" { of_arn(name) } else { name.to_owned() })
}

/// The names that a call gives to what it is about.
pub(super) fn of_record(record: &Record) -> BTreeSet<String> {
    let service = record.service();
    let mut names = BTreeSet::new();
    let mut add = |name: String| {
        if names.len() < MAX_NAMES {
            names.insert(name);
        }
    };
    record.arns().for_each(|arn| add(of_arn(arn)));
    for (_, value) in record.parameters() {
        if let Some(arn) = value.as_str().filter(|text| text.starts_with("arn:")) {
            add(of_arn(arn));
        }
    }
    let known = NAMED.iter().find(|(of, _)| *of == service).map_or(&[][..], |(_, parameters)| parameters);
    for text in known.iter().filter_map(|parameter| record.text(parameter)) {
        add(if text.starts_with("arn:") { of_arn(text) } else { format!("{service}:{}", plain(service, text)) });
    }
    match service {
        "ecs" => {
            let cluster = last(record.text("cluster").unwrap_or("default"));
            let named = record.text("service").or_else(|| record.text("serviceName"));
            if let Some(of) = named.filter(|named| !named.starts_with("arn:")) {
                add(format!("ecs:{cluster}/{of}"));
            }
        }
        "application-autoscaling" => {
            let id = record.text("resourceId").and_then(|id| id.strip_prefix("service/"));
            id.into_iter().for_each(|id| add(format!("ecs:{id}")));
        }
        _ => {}
    }
    if WITH_IDS.contains(&service) {
        for (name, value) in record.parameters() {
            if value.is_string() || LISTS_OF_IDS.contains(&name) {
                ids(value, 0, &mut add);
            }
        }
    }
    names
}

/// The texts in `value` that are ids of EC2.
fn ids(value: &Value, depth: usize, add: &mut impl FnMut(String)) {
    match value {
        Value::String(text) if is_id(text) => add(format!("ec2:{text}")),
        Value::Array(values) if depth < 4 => values.iter().for_each(|value| ids(value, depth + 1, add)),
        Value::Object(fields) if depth < 4 => fields.values().for_each(|value| ids(value, depth + 1, add)),
        _ => {}
    }
}

/// `i-0123456789abcdef0`, `sg-01234567`.
fn is_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(kind, id)| {
        (1..=8).contains(&kind.len())
            && kind.bytes().all(|byte| byte.is_ascii_lowercase())
            && (8..=17).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// A name without what a service allows around it.
fn plain<'a>(service: &str, text: &'a str) -> &'a str {
    match service {
        // `123456789012:function:web:live`
        "lambda" => text.split_once("function:").map_or(text, |(_, rest)| rest).split(':').next().unwrap_or(text),
        "ssm" => text.trim_start_matches('/'),
        _ => text,
    }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The name of what an ARN names; the ARN itself where there is no shorter one.
pub(super) fn of_arn(arn: &str) -> String {
    let mut parts = arn.splitn(6, ':');
    let service = parts.nth(2).unwrap_or_default();
    let rest = parts.nth(2).unwrap_or_default();
    let until = |text: &str, end: char| text.split(end).next().unwrap_or_default().to_owned();
    let short = match service {
        "ecs" => rest.strip_prefix("service/").filter(|path| path.contains('/')).map(str::to_owned),
        "autoscaling" => rest.rsplit_once("autoScalingGroupName/").map(|(_, name)| name.to_owned()),
        "ec2" => rest.split_once('/').map(|(_, id)| id.to_owned()),
        "lambda" => rest.strip_prefix("function:").map(|name| until(name, ':')),
        "rds" => rest.strip_prefix("db:").or_else(|| rest.strip_prefix("cluster:")).map(str::to_owned),
        "cloudformation" => rest.strip_prefix("stack/").map(|name| until(name, '/')),
        "dynamodb" => rest.strip_prefix("table/").map(|name| until(name, '/')),
        "s3" => Some(until(rest, '/')),
        "ssm" => rest.strip_prefix("parameter/").map(str::to_owned),
        // A hyphen and six characters of chance stand behind the name.
        "secretsmanager" => {
            let name = rest.strip_prefix("secret:");
            name.map(|name| {
                name.rsplit_once('-').filter(|(_, tail)| tail.len() == 6).map_or(name, |(name, _)| name).to_owned()
            })
        }
        "elasticloadbalancing" => {
            let path: Vec<&str> = rest.split('/').collect();
            match path.as_slice() {
                ["targetgroup", name, ..] => Some(format!("targetgroup/{name}")),
                ["loadbalancer" | "listener" | "listener-rule", "app" | "net" | "gwy", name, ..]
                | ["loadbalancer", name] => Some(format!("loadbalancer/{name}")),
                _ => None,
            }
        }
        _ => None,
    };
    match short.filter(|short| !short.is_empty()) {
        Some(short) => format!("{service}:{short}"),
        None => arn.to_owned(),
    }
}
