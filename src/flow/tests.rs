//! Flows that make sense and flows that do not.

use super::*;

fn parse(text: &str) -> Result<Flow> {
    Flow::parse(text, Path::new(""))
}

#[test]
fn phases_that_come_again_are_numbered() {
    let flow = parse(
        "solver = 's'\n[[phase]]\nkind='dense'\n[[phase]]\nkind='sparse'\nsparsity=0.4\n[[phase]]\nkind='redense'\n\
         [[phase]]\nkind='sparse'\nsparsity='a=0.1,*=0.6'\nsolver='t'\n",
    )
    .unwrap();
    let names: Vec<&str> = flow.steps.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["dense", "sparse", "redense", "sparse-2"]);
    let texts = flow.steps[1].sparsity.as_ref().map(Sparsity::text);
    assert_eq!(texts, Some("0.4"));
    assert_eq!(
        (flow.steps[0].own_solver, flow.steps[3].own_solver),
        (false, true)
    );
}

#[test]
fn a_flow_that_makes_no_sense_is_refused_with_the_reason() {
    let says = |text: &str, what: &str| {
        let error = format!("{:#}", parse(text).unwrap_err());
        assert!(error.contains(what), "{error}");
    };
    says("", "no [[phase]]");
    says(
        "[[phase]]\nkind='dense'\n[[phase]]\nkind='redense'",
        "no sparse phase",
    );
    says(
        "[[phase]]\nkind='sparse'\n[[phase]]\nkind='dense'",
        "call it redense",
    );
    says(
        "[[phase]]\nkind='sparse'\nsparsity=0.5\n[[phase]]\nkind='sparse'\nsparsity=0.3",
        "only prune further",
    );
    says("[[phase]]\nkind='dense'\nsparsity=0.5", "only a sparse one");
    says("[[phase]]\nkind='spase'", "spase");
    says("[[phase]]\nkind='sparse'\nsparsity=1.5", "[0, 1)");
    says("[[phase]]\nkind='dense'\nmax_itr=5", "max_itr");
    says("precision='fp16'\n[[phase]]\nkind='dense'", "fp16");
    says("[[phase]]\nkind='dense'\nmax_iter=0", "max_iter 0");
    let quantize = |lines: &str| format!("[[phase]]\nkind='quantize'\n{lines}\n");
    says(&quantize("bits=9"), "2 to 8");
    says(&quantize("bits=5.5"), "not a whole number");
    says(&quantize("bits='conv=x'"), "'x' is not a whole number");
    says(
        &quantize("sparsity=0.5"),
        "a quantize phase has no sparsity",
    );
    says(&quantize("schedule='cubic'"), "only a sparse one prunes");
    says(
        "[[phase]]\nkind='sparse'\nbits=6",
        "a sparse phase has no bits",
    );
    for kind in ["dense", "sparse", "redense"] {
        let after = format!("{}[[phase]]\nkind='{kind}'", quantize(""));
        says(&after, &format!("phase 2 is {kind} after a quantize one"));
    }
    says(
        &(quantize("bits=4") + &quantize("bits=6")),
        "phase 2 has 6 bits after 4",
    );
    says(&(quantize("bits=4") + &quantize("")), "6 bits after 4");
    says(
        "[[phase]]\nkind='redense'\nscale_dropout=true",
        "no scale_dropout",
    );
    let sparse = |lines: &str| format!("[[phase]]\nkind='sparse'\n{lines}");
    says(
        &sparse("prune_every=5"),
        "prune_every is of schedule \"cubic\", but this phase's is \"once\"",
    );
    says(
        &sparse("schedule='once'\nprune_until=5"),
        "prune_until is of schedule \"cubic\"",
    );
    says(&sparse("schedule='cubic'\nprune_every=0"), "from 1");
    says(&sparse("schedule='linear'"), "linear");
    says(
        &sparse("schedule='cubic'\nhold=false"),
        "hold is of schedule \"once\"",
    );
    says(&sparse("schedule='acdc'\nrounds=0"), "rounds counts from 1");
    says(
        &sparse("schedule='acdc'\nrounds=2\nac_dc_every=5"),
        "keep one",
    );
    says(&sparse("schedule='acdc'\nends='redense'"), "redense");
    says(&sparse("drop_fraction=0.3"), "schedule \"rigl\"");
    says(
        &sparse("schedule='rigl'\nsrste_decay=0.1"),
        "schedule \"srste\"",
    );
    says(&sparse("patience=5"), "add until_converged");
    says(&sparse("until_converged=true\nmin_delta=1"), "phase 1");
    says(&sparse("rewind_to=5\nbase_lr=0.1"), "keep one");
    says(&quantize("rewind_to=5"), "no rewind_to");
    says("[[phase]]\nkind='dense'\nhold=false", "only a sparse one");
}

#[test]
fn settings_of_the_whole_flow_reach_the_phases_that_have_them() {
    let flow = parse(
        "solver='s'\nsparsity=0.5\nbits=5\nscale_dropout=true\nprecision='bf16'\n[[phase]]\nkind='dense'\n[[phase]]\nkind='sparse'\n\
         schedule='cubic'\nprune_every=10\nprune_until=200\n[[phase]]\nkind='quantize'\n\
         [[phase]]\nkind='quantize'\nbits='conv*=4,*=3'\nscale_dropout=false\nprecision='f32'",
    )
    .unwrap();
    let steps = &flow.steps;
    let names: Vec<&str> = steps.iter().map(|s| &s.name[..]).collect();
    assert_eq!(names, ["dense", "sparse", "quantize", "quantize-2"]);
    let bits: Vec<Option<&str>> = steps
        .iter()
        .map(|s| s.bits.as_ref().map(Bits::text))
        .collect();
    assert_eq!(bits, [None, None, Some("5"), Some("conv*=4,*=3")]);
    let scaled: Vec<bool> = steps.iter().map(|s| s.scale_dropout).collect();
    assert_eq!(scaled, [false, true, true, false]);
    let precisions = steps.iter().map(|s| s.precision.unwrap_or_default().name());
    let precisions: Vec<&str> = precisions.collect();
    assert_eq!(precisions, ["bf16", "bf16", "bf16", "f32"]);
    assert_eq!(steps[1].schedule, Some(Schedule::Cubic));
    assert_eq!(
        (steps[1].prune_every, steps[1].prune_until),
        (Some(10), Some(200))
    );
    assert_eq!(
        (steps[0].sparsity.as_ref(), steps[2].sparsity.as_ref()),
        (None, None)
    );
}

#[test]
fn after_zeros_that_nothing_holds_a_phase_may_be_dense_or_redense() {
    for keys in ["hold=false", "schedule='acdc'\nends='dense'"] {
        for kind in ["dense", "redense"] {
            let text = format!("[[phase]]\nkind='sparse'\n{keys}\n[[phase]]\nkind='{kind}'");
            assert!(parse(&text).is_ok(), "{text}");
        }
        let less = format!(
            "[[phase]]\nkind='sparse'\nsparsity=0.5\n{keys}\n[[phase]]\nkind='sparse'\nsparsity=0.3"
        );
        assert!(parse(&less).is_ok(), "{less}");
    }
    let flow =
        parse("[[phase]]\nkind='sparse'\nschedule='acdc'\nrounds=2\nuntil_converged=true").unwrap();
    let extras = flow.steps[0].extras();
    let texts: Vec<String> = extras.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(texts, ["rounds=2", "until_converged=true"]);
}
