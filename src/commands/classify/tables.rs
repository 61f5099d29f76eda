//! The tables and the JSON of a score.

use crate::classify::tally::{Answer, OfClass, Tally};
use crate::report::table::{Align, Table};
use crate::statistics::binomial_error;
use serde_json::{Value, json};

/// Classes whose rows and whose matrix are shown whole; of more only the worst, and the pairs that are mistaken most.
const WHOLE: usize = 20;
/// Mistakes shown, at most.
const MISTAKES: usize = 20;

/// `0.9120`.
fn part(n: u64, of: u64) -> f64 {
    n as f64 / of.max(1) as f64
}

/// All tables, for a net of `classes`.
pub fn text(tally: &Tally, classes: usize) -> String {
    let mut text = accuracy(tally, classes).to_string();
    let rows = tally.by_class();
    let few = rows.len() <= WHOLE;
    text += &match few {
        true => "\nby class:\n".to_string(),
        false => format!(
            "\nthe worst {WHOLE} of {} classes (--json has all):\n",
            rows.len()
        ),
    };
    text += &by_class(tally, rows, classes).to_string();
    let names = shown(tally);
    if names.len() <= WHOLE {
        text += "\nrows: what pictures are; columns: what the net says:\n";
        text += &matrix(tally, &names).to_string();
    } else if tally.right() < tally.answers.len() as u64 {
        text += "\nthe mistakes made most often:\n";
        text += &pairs(tally).to_string();
    }
    let mistakes = tally.mistakes();
    if !mistakes.is_empty() {
        text += &match mistakes.len() > MISTAKES {
            true => format!("\nthe surest {MISTAKES} of {} mistakes:\n", mistakes.len()),
            false => "\nthe mistakes, the surest first:\n".to_string(),
        };
        text += &surest(tally, &mistakes).to_string();
    }
    text
}

fn accuracy(tally: &Tally, classes: usize) -> Table {
    let all = tally.answers.len() as u64;
    let mut table = Table::new([
        ("", Align::Left),
        ("accuracy", Align::Right),
        ("± chance", Align::Right),
        ("right", Align::Right),
        ("of", Align::Right),
    ]);
    for (name, right) in counts(tally, classes) {
        let p = part(right, all);
        table.row([
            name.to_string(),
            format!("{p:.4}"),
            format!("{:.4}", binomial_error(p, all)),
            right.to_string(),
            all.to_string(),
        ]);
    }
    table
}

/// The most probable class, and of nets of more than five classes the five most probable.
fn counts(tally: &Tally, classes: usize) -> Vec<(&'static str, u64)> {
    let mut counts = vec![("top-1", tally.right())];
    if classes > 5 {
        counts.push(("top-5", tally.within(5)));
    }
    counts
}

fn by_class(tally: &Tally, mut rows: Vec<OfClass>, classes: usize) -> Table {
    if rows.len() > WHOLE {
        let badness = |c: &OfClass| (part(c.right, c.pictures), std::cmp::Reverse(c.pictures));
        rows.sort_by(|a, b| {
            let (a, b) = (badness(a), badness(b));
            a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
        });
        rows.truncate(WHOLE);
    }
    let mut heads = vec![
        ("class", Align::Left),
        ("pictures", Align::Right),
        ("right", Align::Right),
        ("accuracy", Align::Right),
        ("top-5", Align::Right),
        ("mistaken most for", Align::Left),
    ];
    if classes <= 5 {
        heads.remove(4);
    }
    let mut table = Table::new(heads);
    for c in rows {
        let mut cells = vec![
            tally.name(c.class),
            c.pictures.to_string(),
            c.right.to_string(),
            format!("{:.4}", part(c.right, c.pictures)),
        ];
        if classes > 5 {
            cells.push(format!("{:.4}", part(c.top5, c.pictures)));
        }
        let most = c.mistaken.map(|(s, n)| format!("{} ({n})", tally.name(s)));
        cells.push(most.unwrap_or_default());
        table.row(cells);
    }
    table
}

/// The classes that pictures have or are taken for.
fn shown(tally: &Tally) -> Vec<usize> {
    let both = |a: &Answer| [a.class, a.said];
    let mut all: Vec<usize> = tally.answers.iter().flat_map(both).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn matrix(tally: &Tally, classes: &[usize]) -> Table {
    let counts = tally.confusion();
    let heads = classes.iter().map(|&c| (tally.name(c), Align::Right));
    let mut table = Table::new(std::iter::once((String::new(), Align::Left)).chain(heads));
    for &class in classes {
        let cell = |said: &usize| match counts.get(&(class, *said)) {
            Some(n) => n.to_string(),
            None => "·".to_string(),
        };
        table.row(std::iter::once(tally.name(class)).chain(classes.iter().map(cell)));
    }
    table
}

fn pairs(tally: &Tally) -> Table {
    let counts = tally.confusion();
    let mut wrong: Vec<_> = counts.iter().filter(|((a, b), _)| a != b).collect();
    wrong.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let mut table = Table::new([
        ("what it is", Align::Left),
        ("what the net says", Align::Left),
        ("times", Align::Right),
        ("of", Align::Right),
    ]);
    for ((class, said), n) in wrong.into_iter().take(WHOLE) {
        let of = tally.count(|a| a.class == *class);
        table.row([
            tally.name(*class),
            tally.name(*said),
            n.to_string(),
            of.to_string(),
        ]);
    }
    table
}

fn surest(tally: &Tally, mistakes: &[&Answer]) -> Table {
    let mut table = Table::new([
        ("file", Align::Left),
        ("said", Align::Left),
        ("probability", Align::Right),
        ("right is", Align::Left),
        ("its probability", Align::Right),
    ]);
    for m in mistakes.iter().take(MISTAKES) {
        table.row([
            m.file.clone(),
            tally.name(m.said),
            format!("{:.4}", m.probability),
            tally.name(m.class),
            format!("{:.4}", m.own),
        ]);
    }
    table
}

/// The same as an object, with all classes and all mistakes.
pub fn as_json(tally: &Tally, classes: usize) -> Value {
    let all = tally.answers.len() as u64;
    let counts = tally.confusion();
    let row = |class: usize| -> Vec<u64> {
        let n = |said| counts.get(&(class, said)).copied().unwrap_or(0);
        (0..classes).map(n).collect()
    };
    let by_class: Vec<Value> = tally
        .by_class()
        .iter()
        .map(|c| {
            let mut object = json!({
                "class": c.class,
                "name": tally.name(c.class),
                "pictures": c.pictures,
                "right": c.right,
                "said": c.said,
                "accuracy": part(c.right, c.pictures),
            });
            if classes > 5 {
                object["top5"] = json!(part(c.top5, c.pictures));
            }
            object
        })
        .collect();
    let mistakes: Vec<Value> = tally
        .mistakes()
        .iter()
        .map(|m| {
            json!({
                "file": m.file,
                "said": tally.name(m.said),
                "probability": m.probability,
                "right": tally.name(m.class),
                "right_probability": m.own,
            })
        })
        .collect();
    let right = tally.right();
    let mut object = json!({
        "pictures": all,
        "right": right,
        "accuracy": part(right, all),
        "accuracy_error": binomial_error(part(right, all), all),
        "names": (0..classes).map(|c| tally.name(c)).collect::<Vec<_>>(),
        "classes": by_class,
        "confusion": (0..classes).map(row).collect::<Vec<_>>(),
        "mistakes": mistakes,
    });
    if classes > 5 {
        object["top5"] = json!(part(tally.within(5), all));
    }
    object
}
