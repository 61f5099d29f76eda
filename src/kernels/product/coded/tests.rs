use super::*;
use crate::kernels::crew;
use crate::kernels::noise;
use crate::kernels::simd::Isa;

/// Pruned weights: a share of them is not 0, and takes one of `values` values (any if 0).
fn pruned(seed: u64, n: usize, density: f32, values: usize) -> Vec<f32> {
    let (keep, value) = (noise(seed, n), noise(seed + 1, n));
    let book = noise(seed + 2, values);
    let weight = |(keep, value): (&f32, &f32)| match values {
        _ if (keep + 1.0) / 2.0 >= density => 0.0,
        0 => *value,
        _ => book[(((value + 1.0) / 2.0) * values as f32) as usize % values],
    };
    keep.iter().zip(&value).map(weight).collect()
}

/// Inputs of which a share is not 0.
fn sparse(seed: u64, n: usize, active: f32) -> Vec<f32> {
    let (x, keep) = (noise(seed, n), noise(seed + 1, n));
    let kept = |(x, keep): (&f32, &f32)| {
        if (keep + 1.0) / 2.0 < active { *x } else { 0.0 }
    };
    x.iter().zip(&keep).map(kept).collect()
}

const FORMS: [Few; 3] = [Few::Columns, Few::Rows, Few::Nibbles];

/// Compares with sums in f64, and all ways to compute with each other to the bit.
fn check(coded: &Coded, w: &[f32], x: &[f32], bias: Option<&[f32]>, rows: usize, what: &str) {
    let (outputs, depth) = (coded.outputs, coded.depth);
    let mut y = vec![f32::NAN; rows * outputs];
    coded.forward(&Crew::alone(), x, bias, &mut y);
    for (i, y) in y.iter().enumerate() {
        let (m, n) = (i / outputs, i % outputs);
        let terms = (0..depth).map(|k| f64::from(x[m * depth + k]) * f64::from(w[n * depth + k]));
        let terms: Vec<f64> = terms.collect();
        let want = terms.iter().sum::<f64>() + bias.map_or(0.0, |b| f64::from(b[n]));
        let size = terms.iter().map(|t| t.abs()).sum::<f64>() + 1.0;
        assert!(
            (f64::from(*y) - want).abs() <= 1e-6 * size,
            "{what}, output {i}: {y} {want}"
        );
    }
    let bits = |y: &[f32]| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
    for isa in Isa::all() {
        for threads in [1, 3] {
            let mut again = vec![f32::NAN; y.len()];
            crew::tests::with(threads, |crew| {
                coded.forward_with(isa, crew, x, bias, &mut again);
            });
            assert_eq!(bits(&y), bits(&again), "{what}, {isa:?}, {threads} threads");
        }
    }
}

#[test]
fn all_forms_as_written_down() {
    let shapes = [
        (1, 1),
        (7, 33),
        (64, 64),
        (65, 513),
        (200, 1025),
        (1000, 70),
        (4097, 130),
        (9000, 17),
    ];
    for (i, (outputs, depth)) in shapes.into_iter().enumerate() {
        for (density, active, values, rows) in [
            (0.1, 0.4, 15, 1),
            (0.3, 1.0, 3, 2),
            (1.0, 0.1, 15, 1),
            (0.01, 0.5, 1, 4),
        ] {
            let seed = 10 * i as u64;
            let w = pruned(seed, outputs * depth, density, values);
            let (x, b) = (sparse(seed + 5, rows * depth, active), noise(9, outputs));
            for few in FORMS {
                let coded = Coded::pack_as(&w, outputs, depth, Inputs::Dense, Some(few)).unwrap();
                let what = format!("{few:?} {outputs}×{depth} {density} {active} {values}");
                check(&coded, &w, &x, (i % 2 == 0).then_some(&b[..]), rows, &what);
            }
        }
    }
}

#[test]
fn codes_of_eight_bits_and_none() {
    for values in [16, 255, 0] {
        for (outputs, depth) in [(70, 600), (5000, 40), (3, 4)] {
            let w = pruned(3, outputs * depth, 0.2, values);
            let coded = Coded::pack(&w, outputs, depth, Inputs::Sparse).unwrap();
            let x = sparse(8, depth, 0.4);
            check(&coded, &w, &x, None, 1, &format!("{values} values"));
        }
    }
}

#[test]
fn slices_and_blocks() {
    // Enough weights for several tasks in every form.
    let (outputs, depth) = (4500, 700);
    let w = pruned(1, outputs * depth, 0.2, 15);
    let x = sparse(4, depth, 0.4);
    for few in FORMS {
        let coded = Coded::pack_as(&w, outputs, depth, Inputs::Sparse, Some(few)).unwrap();
        check(&coded, &w, &x, None, 1, &format!("{few:?}"));
    }
}

#[test]
fn nothing_to_add() {
    for (outputs, depth) in [(0, 5), (5, 0), (0, 0), (70, 9)] {
        let b = noise(1, outputs);
        for few in FORMS {
            let zeros = vec![-0.0; outputs * depth];
            let coded = Coded::pack_as(&zeros, outputs, depth, Inputs::Dense, Some(few)).unwrap();
            let mut y = vec![f32::NAN; outputs];
            crew::tests::with(3, |crew| {
                coded.forward(crew, &noise(2, depth), Some(&b), &mut y)
            });
            assert_eq!(y, b, "{few:?}");
            let ones = vec![1.0; outputs * depth];
            let coded = Coded::pack_as(&ones, outputs, depth, Inputs::Dense, Some(few)).unwrap();
            coded.forward(&Crew::alone(), &vec![0.0; depth], Some(&b), &mut y);
            assert_eq!(y, b, "{few:?}");
        }
    }
}

/// Long gaps, empty columns and rows: a few weights in the corners of a large matrix.
#[test]
fn lone_weights() {
    let (outputs, depth) = (4200, 600);
    let mut w = vec![0.0; outputs * depth];
    for (n, k, v) in [
        (0, 0, 1.0),
        (0, 599, 2.0),
        (4199, 0, -3.0),
        (4199, 599, 4.0),
        (2100, 300, f32::MIN_POSITIVE),
    ] {
        w[n * depth + k] = v;
    }
    for few in FORMS {
        let coded = Coded::pack_as(&w, outputs, depth, Inputs::Sparse, Some(few)).unwrap();
        check(&coded, &w, &noise(1, depth), None, 1, &format!("{few:?}"));
    }
}

#[test]
fn weights_of_zero_ignore_infinite_inputs() {
    let w = [0.0, 2.0, 0.0, 0.0];
    for few in FORMS {
        let coded = Coded::pack_as(&w, 2, 2, Inputs::Dense, Some(few)).unwrap();
        let mut y = [f32::NAN; 2];
        coded.forward(&Crew::alone(), &[f32::INFINITY, 3.0], None, &mut y);
        assert_eq!(y, [6.0, 0.0], "{few:?}");
    }
}

#[test]
fn forms_and_sizes() {
    let form = |outputs, depth, density: f64, inputs| {
        let layer = Layer {
            outputs,
            depth,
            nonzeros: (density * (outputs * depth) as f64) as usize,
            values: 15,
            inputs,
        };
        assert!(layer.pays());
        layer.few().0
    };
    assert_eq!(form(4096, 9216, 0.09, Inputs::Sparse), Few::Columns);
    assert_eq!(form(1000, 4096, 0.25, Inputs::Sparse), Few::Nibbles);
    assert_eq!(form(600, 4096, 0.10, Inputs::Dense), Few::Rows);
    assert_eq!(form(8791, 600, 0.11, Inputs::Dense), Few::Columns);
    // Dense weights that share no values, and a layer that the cache keeps.
    assert!(!Coded::pays(1000, 4096, 4_096_000, 256, Inputs::Dense));
    assert!(!Coded::pays(100, 400, 10_000, 15, Inputs::Dense));
    let w = pruned(1, 1000 * 1000, 0.09, 15);
    let coded = Coded::pack(&w, 1000, 1000, Inputs::Sparse).unwrap();
    assert!(coded.bytes() < 4 * w.len() / 10, "{}", coded.bytes());
    assert_eq!(Coded::values(&w), 15);
    assert_eq!(Coded::values(&noise(1, 1000)), 256);
}
