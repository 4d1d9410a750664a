//! What can be told without a server, and with one that says what EC2 would.

use std::sync::Arc;

use super::*;
use crate::SystemClock;
use crate::aws::double::{Asked, Double, Reply, sdk};

fn instance(entity: &'static str, id: &str) -> Ec2Instance {
    Ec2Instance { entity: EntityId::literal(entity), instance: id.to_owned() }
}

fn config() -> Ec2Config {
    Ec2Config {
        instance: vec![instance("web", "i-1")],
        quarantine_group: "sg-quarantine".to_owned(),
        ..Ec2Config::default()
    }
}

fn call(action: &'static str, groups: Option<&str>) -> Call {
    let params = groups.map(|groups| (GROUPS.to_owned(), json!(groups))).into_iter().collect();
    Call { action: ActionName::literal(action), target: EntityId::literal("web"), params }
}

/// An instance in network `vpc-1` with these groups and so many interfaces; every group is of network `vpc-1`, but for
/// `sg-far`.
fn answer((_, body): &Asked, state: &str, groups: &[&str], n_interfaces: usize) -> Reply {
    let items = |name: &str, of: &[&str]| {
        let item = |id: &&str| {
            let network = if *id == "sg-far" { "vpc-2" } else { "vpc-1" };
            format!("<item><groupId>{id}</groupId><vpcId>{network}</vpcId></item>")
        };
        format!("<{name}>{}</{name}>", of.iter().map(item).collect::<String>())
    };
    if body.contains("Action=DescribeSecurityGroups") {
        let asked = body.split('&').filter(|pair| pair.starts_with("GroupId."));
        let asked: Vec<&str> = asked.filter_map(|pair| Some(pair.split_once('=')?.1)).collect();
        let found = items("securityGroupInfo", &asked);
        return Reply::Says(200, format!("<DescribeSecurityGroupsResponse>{found}</DescribeSecurityGroupsResponse>"));
    }
    let interfaces = "<item><networkInterfaceId>eni-1</networkInterfaceId></item>".repeat(n_interfaces);
    let text = format!(
        "<DescribeInstancesResponse><reservationSet><item><instancesSet><item><instanceId>i-1</instanceId>\
         <vpcId>vpc-1</vpcId><instanceState><code>16</code><name>{state}</name></instanceState>\
         <networkInterfaceSet>{interfaces}</networkInterfaceSet>{}</item></instancesSet></item></reservationSet>\
         </DescribeInstancesResponse>",
        items("groupSet", groups)
    );
    Reply::Says(200, text)
}

#[tokio::test]
async fn what_could_not_be_taken_back_or_would_reach_too_little_is_refused() {
    let quarantine = || call(QUARANTINE, None);
    let release = |groups| call(RELEASE, Some(groups));
    // One row an instance (state, groups, interfaces), a call, and the kind of its error, if it is refused.
    let rows = [
        ("running", &["sg-1", "sg-2"][..], 1, quarantine(), None),
        ("running", &["sg-quarantine"][..], 1, release("sg-2, sg-1"), None),
        // What is so already changes nothing, and may be asked for.
        ("running", &["sg-1"][..], 1, release("sg-1"), None),
        ("running", &["sg-1"][..], 2, quarantine(), Some(ErrorKind::Conflict)),
        ("running", &[][..], 1, quarantine(), Some(ErrorKind::Conflict)),
        ("terminated", &["sg-1"][..], 1, quarantine(), Some(ErrorKind::Conflict)),
        // Not in quarantine: this would be any groups for any instance.
        ("running", &["sg-1"][..], 1, release("sg-2"), Some(ErrorKind::Conflict)),
        ("running", &["sg-quarantine"][..], 1, release("sg-far"), Some(ErrorKind::Conflict)),
        ("running", &["sg-quarantine"][..], 1, release("nonsense"), Some(ErrorKind::InvalidInput)),
        ("running", &["sg-quarantine"][..], 1, release(""), Some(ErrorKind::InvalidInput)),
    ];
    let ctx = Ctx::new(Arc::new(SystemClock::new()));
    for (state, groups, n, call, refused) in rows {
        let double = Double::start(move |asked| answer(asked, state, groups, n)).await;
        let executor = Ec2Executor::new(config(), &double.sdk()).unwrap();
        let seen = executor.preview(&ctx, &call).await;
        let kind = seen.as_ref().err().map(Error::kind);
        assert_eq!(kind, refused, "{state} {groups:?} {n} {call}: {seen:?}");
    }
}

#[test]
fn every_mistake_of_a_configuration_is_told() {
    let mut config = config();
    config.instance.push(instance("web", "eni-1"));
    (config.name, config.quarantine_group) = (String::new(), "quarantine".to_owned());
    let error = Ec2Executor::new(config, &SdkConfig::builder().build()).unwrap_err();
    let fields: Vec<&str> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["name", "quarantine_group", "instance[1].entity", "instance[1].instance", "sdk"]);
    let none = Ec2Executor::new(Ec2Config::default(), &sdk("http://127.0.0.1:1")).unwrap_err();
    assert_eq!(none.problems()[0].field, "instance");
}
