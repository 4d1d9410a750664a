//! The laws of [`LessonStore`].

use super::{Law, Lawful, samples};
use crate::ctx::Ctx;
use crate::id::{ClassName, IncidentId, LessonId};
use crate::lesson::{Lesson, LessonQuery, LessonStore};
use crate::time::Timestamp;

const RECALLS: Law = Law::new("LessonStore", 1, "A lesson put is recalled.");
const REPLACES: Law = Law::new(
    "LessonStore",
    2,
    "Putting the same lesson again changes nothing; the same name with another content replaces it.",
);
const NEWEST: Law = Law::new("LessonStore", 3, "`recall` answers newest first and keeps to the limit.");

/// Runs every law, each on an empty store that `fresh` makes.
///
/// # Errors
///
/// The first law that does not hold.
pub async fn check_all<S, F>(ctx: &Ctx, fresh: F) -> Lawful
where
    S: std::ops::Deref<Target = dyn LessonStore>,
    F: AsyncFn() -> S,
{
    law_1_recalls(ctx, &*fresh().await).await?;
    law_2_replaces(ctx, &*fresh().await).await?;
    law_3_newest_first(ctx, &*fresh().await).await
}

fn lesson(n: u64) -> Lesson {
    let incident = IncidentId::numbered(n);
    Lesson {
        id: LessonId::of(&incident),
        incident,
        at: Timestamp::from_millis(i64::try_from(n).unwrap_or(i64::MAX)),
        ..samples::lesson()
    }
}

async fn put(law: &Law, ctx: &Ctx, store: &dyn LessonStore, lesson: &Lesson) -> Lawful {
    law.works("putting a lesson", store.put(ctx, lesson).await)
}

async fn recall(law: &Law, ctx: &Ctx, store: &dyn LessonStore, query: &LessonQuery) -> Lawful<Vec<Lesson>> {
    law.works("recalling", store.recall(ctx, query).await)
}

/// Law 1, by class and cause as well.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_1_recalls(ctx: &Ctx, store: &dyn LessonStore) -> Lawful {
    let law = &RECALLS;
    law.same("an empty store's answer", &recall(law, ctx, store, &LessonQuery::default()).await?, &Vec::new())?;
    let one = lesson(1);
    let other = Lesson { class: law.works("naming", ClassName::new("other")).map(Some)?, cause: None, ..lesson(2) };
    put(law, ctx, store, &one).await?;
    put(law, ctx, store, &other).await?;
    let by_class = LessonQuery { class: one.class.clone(), ..LessonQuery::default() };
    law.same("what is recalled of a class", &recall(law, ctx, store, &by_class).await?, &vec![one.clone()])?;
    let by_cause = LessonQuery { cause: one.cause.clone(), ..LessonQuery::default() };
    law.same("what is recalled of a cause", &recall(law, ctx, store, &by_cause).await?, &vec![one.clone()])?;
    let all = recall(law, ctx, store, &LessonQuery::default()).await?;
    law.same("what is recalled", &all, &vec![other, one])
}

/// Law 2.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_2_replaces(ctx: &Ctx, store: &dyn LessonStore) -> Lawful {
    let law = &REPLACES;
    let query = LessonQuery::default();
    for _ in 0..2 {
        put(law, ctx, store, &lesson(1)).await?;
    }
    law.same("what is recalled", &recall(law, ctx, store, &query).await?, &vec![lesson(1)])?;
    let changed = Lesson { lasted_ms: lesson(1).lasted_ms + 1, ..lesson(1) };
    put(law, ctx, store, &changed).await?;
    law.same("what is recalled after a change", &recall(law, ctx, store, &query).await?, &vec![changed])
}

/// Law 3.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_3_newest_first(ctx: &Ctx, store: &dyn LessonStore) -> Lawful {
    let law = &NEWEST;
    for n in [2, 5, 1, 4, 3] {
        put(law, ctx, store, &lesson(n)).await?;
    }
    for (limit, wanted) in [(0, 5), (1, 1), (3, 3), (9, 5)] {
        let query = LessonQuery { limit, ..LessonQuery::default() };
        let found: Vec<LessonId> = recall(law, ctx, store, &query).await?.into_iter().map(|l| l.id).collect();
        let newest: Vec<LessonId> = (0..wanted).map(|n| lesson(5 - n).id).collect();
        law.same(&format!("what is recalled with limit {limit}"), &found, &newest)?;
    }
    Ok(())
}
