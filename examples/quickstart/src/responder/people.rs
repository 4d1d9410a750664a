//! People at the terminal: the library asks, they approve, modify or refuse, with a reason.

use async_trait::async_trait;
use incident_response::Handle;
use incident_response::core::{
    Answer, ApprovalAnswer, ApprovalRequest, Approver, Ctx, Error, ErrorKind, Person, Result, StepChange,
};
use serde_json::json;
use tokio::sync::mpsc;

/// Puts requests before whoever sits at the terminal.
#[derive(Debug)]
pub(crate) struct TerminalApprover {
    requests: mpsc::UnboundedSender<ApprovalRequest>,
}

impl TerminalApprover {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<ApprovalRequest>) {
        let (requests, receiver) = mpsc::unbounded_channel();
        (Self { requests }, receiver)
    }
}

#[async_trait]
impl Approver for TerminalApprover {
    fn name(&self) -> &str {
        "terminal"
    }

    async fn ask(&self, _ctx: &Ctx, request: &ApprovalRequest) -> Result<()> {
        self.requests
            .send(request.clone())
            .map_err(|_| Error::new(ErrorKind::Unavailable, "terminal", "nobody sits here"))
    }
}

/// Shows each request and brings the answer back, scripted or typed.
pub(crate) async fn answer_requests(
    mut requests: mpsc::UnboundedReceiver<ApprovalRequest>,
    mut typed: mpsc::UnboundedReceiver<String>,
    scripted: Option<String>,
    handle: Handle,
) {
    // The director's script answers for a person, who modifies at most once.
    let mut modified = false;
    while let Some(request) = requests.recv().await {
        show(&request);
        let (word, reason) = match &scripted {
            Some(word) if word == "modify" && modified => ("approve".to_owned(), "as modified".to_owned()),
            // At tier veto silence is consent, and nobody objects unless told to.
            Some(word) if request.veto_ms.is_some() && word == "approve" => continue,
            Some(word) => (word.clone(), "as the script says".to_owned()),
            None => match ask(&mut typed, &request).await {
                Some(answer) => answer,
                None => continue,
            },
        };
        let answer = match word.as_str() {
            "approve" => Answer::Approve,
            "modify" => {
                modified = true;
                Answer::Modify { changes: modification(&request) }
            }
            _ => Answer::Refuse,
        };
        println!("a person says: {word} ({reason})");
        let by = Person { name: "operator".to_owned(), roles: vec!["sre".to_owned()] };
        let answer = ApprovalAnswer { request: request.id, plan_digest: request.plan_digest, by, answer, reason };
        if handle.answer(answer).await.is_err() {
            return;
        }
    }
}

/// What the person at this terminal would rather have: the same, with the version named where that can be done.
fn modification(request: &ApprovalRequest) -> Vec<StepChange> {
    let to = request.preview.rsplit(" to ").next().filter(|_| request.call.action.as_str() == "shop.rollback");
    let params = to.map(|to| serde_json::Map::from_iter([("to".to_owned(), json!(to))]));
    vec![StepChange { step: request.step.step.clone(), action: None, params, drop: false }]
}

fn show(request: &ApprovalRequest) {
    println!("asks: may I do {}?", request.call);
    println!("  why:      {}", request.why);
    println!("  now:      {}", request.preview);
    println!("  expected: {}", request.expected_effect);
    println!("  risk:     {:?}", request.risk);
    println!("  undo:     {}", request.undo);
    for alternative in &request.alternatives {
        println!("  instead:  {alternative}");
    }
    match request.veto_ms {
        Some(ms) => println!("  it is done in {} s unless somebody objects", ms / 1000),
        None => println!("  needed:   {}", request.quorum),
    }
}

/// One line such as `approve it is the deploy`; the rest of the line is the reason.
async fn ask(typed: &mut mpsc::UnboundedReceiver<String>, request: &ApprovalRequest) -> Option<(String, String)> {
    println!("type `approve`, `modify` or `refuse`, and a reason:");
    let patience = std::time::Duration::from_millis(request.veto_ms.unwrap_or(request.expires_ms));
    let wait = async {
        while let Some(line) = typed.recv().await {
            let (word, reason) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            let word = match word {
                "a" | "approve" | "y" | "yes" => "approve",
                "m" | "modify" => "modify",
                "r" | "refuse" | "n" | "no" => "refuse",
                other => {
                    println!("`{other}` is not understood: `approve`, `modify` or `refuse`");
                    continue;
                }
            };
            let reason = if reason.trim().is_empty() { "no reason given at the terminal" } else { reason.trim() };
            return Some((word.to_owned(), reason.to_owned()));
        }
        None
    };
    tokio::time::timeout(patience, wait).await.ok().flatten()
}
