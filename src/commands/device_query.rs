//! `dsd device_query`: what the processor is, and what of it the kernels use.

use super::Settings;
use crate::kernels::amx::{Amx, State};
use crate::kernels::bf16::Hardware;
use crate::kernels::simd::Isa;
use crate::outln;
use crate::report::human::HumanBytes;
use crate::threads::Threads;
use anyhow::Result;
use std::fs;
use std::path::Path;

/// Prints the description to stdout, a line a fact.
pub fn run(settings: &Settings) -> Result<()> {
    let threads = &settings.threads;
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let found: Vec<&str> = features()
        .into_iter()
        .filter_map(|(name, there)| there.then_some(name))
        .collect();
    let known = |text: Option<String>| text.unwrap_or_else(|| "unknown".into());
    outln!("Device:            CPU (no GPU backend)")?;
    outln!(
        "Name:              {}",
        known(field(&cpuinfo, "model name"))
    )?;
    outln!("Architecture:      {}", std::env::consts::ARCH)?;
    outln!("Cores:             {}", cores(&cpuinfo, threads))?;
    outln!(
        "Threads used:      {} ({}; {})",
        threads.count,
        threads.why,
        threads.place
    )?;
    outln!(
        "Features found:    {}",
        match found.is_empty() {
            true => "none of those looked for".to_string(),
            false => found.join(" "),
        }
    )?;
    outln!("Kernels:           {}", kernels(settings.isa))?;
    outln!("Matrix products:   {}", products(&found))?;
    outln!("bfloat16:          {}", bfloat16(Hardware::here()))?;
    outln!("Other code:        {}", baseline())?;
    for (name, size) in caches(Path::new("/sys/devices/system/cpu/cpu0/cache")) {
        outln!("{:<18} {size}", format!("Cache {name}:"))?;
    }
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    for (what, key) in [
        ("Memory:", "MemTotal"),
        ("Memory available:", "MemAvailable"),
    ] {
        let bytes = field(&memory, key).and_then(|t| kib(&t));
        let text = bytes.map(|b| HumanBytes(b).to_string());
        outln!("{what:<18} {}", known(text))?;
    }
    Ok(())
}

/// The instruction sets that could matter, and whether this processor has them.
fn features() -> Vec<(&'static str, bool)> {
    macro_rules! ask {
        ($ask:ident: $($name:tt)*) => { vec![$(($name, std::arch::$ask!($name))),*] };
    }
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return ask!(is_x86_feature_detected: "sse" "sse2" "sse3" "ssse3" "sse4.1" "sse4.2" "avx" "avx2" "fma"
        "f16c" "bmi1" "bmi2" "avx512f" "avx512bw" "avx512dq" "avx512vl" "avx512vnni");
    #[cfg(target_arch = "aarch64")]
    return ask!(is_aarch64_feature_detected: "neon" "fp16" "dotprod" "sve");
    #[allow(unreachable_code)]
    Vec::new()
}

/// The instruction set of convolution, pooling and normalisation, and why it is this one.
fn kernels(asked: Option<Isa>) -> String {
    let best = Isa::best().name();
    match asked {
        Some(isa) => format!(
            "{} (DSD_ISA asks for it; the best here is {best})",
            isa.name()
        ),
        None => {
            format!("{best} (the best here; DSD_ISA=portable, avx2 or avx512 asks for another)")
        }
    }
}

/// What the `gemm-f32` crate takes of what was found: its own order.
fn products(found: &[&str]) -> String {
    let choice = [("avx512f", 16), ("fma", 8), ("neon", 4)]
        .into_iter()
        .find(|(name, _)| found.contains(name));
    match choice {
        Some((name, lanes)) => format!("{name}, {lanes} numbers at a time (chosen at run time)"),
        None => "portable code".to_string(),
    }
}

/// Which instructions for bfloat16 there are, and what `--precision bf16` does.
fn bfloat16(here: Hardware) -> String {
    let found = |there, name: &str| {
        let word = if there { "" } else { "no " };
        format!("{word}{name}")
    };
    let all = [
        found(here.amx_tile, "amx_tile"),
        found(here.amx_bf16, "amx_bf16"),
        found(here.avx512_bf16, "avx512_bf16"),
    ];
    let does = match (Amx::here(), Amx::state()) {
        (Some(_), _) => "multiplies by AMX",
        (None, State::Refused(_)) => {
            "rounds in float32 arithmetic, since the system does not grant AMX"
        }
        _ => "rounds in float32 arithmetic",
    };
    format!("{}; --precision bf16 {does}", all.join(", "))
}

/// What the compiler was allowed to use everywhere.
fn baseline() -> &'static str {
    if cfg!(target_feature = "avx512f") {
        "avx512f (this program was built for it)"
    } else if cfg!(target_feature = "avx2") {
        "avx2 (this program was built for it)"
    } else if cfg!(target_feature = "sse2") {
        "sse2, as every x86-64 has it"
    } else if cfg!(target_feature = "neon") {
        "neon, as every AArch64 has it"
    } else {
        "portable code"
    }
}

/// The first value of `key` in a file of lines `key : value`.
fn field(text: &str, key: &str) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = pairs.find(|(k, _)| k.trim() == key)?;
    Some(value.trim().to_string())
}

/// What the machine has, and what of it is for this process.
fn cores(cpuinfo: &str, threads: &Threads) -> String {
    let logical = cpuinfo
        .lines()
        .filter(|l| l.starts_with("processor"))
        .count();
    let mut physical: Vec<[String; 2]> = cpuinfo
        .split("\n\n")
        .filter_map(|cpu| Some([field(cpu, "physical id")?, field(cpu, "core id")?]))
        .collect();
    physical.sort();
    physical.dedup();
    let (cores, ours) = (threads.cores, threads.processors);
    let ours = format!("{cores} physical, {ours} logical for this process");
    match (physical.len(), logical) {
        (0, 0) => ours,
        (0, l) => format!("{l} logical; {ours}"),
        (p, l) => format!("{p} physical, {l} logical; {ours}"),
    }
}

/// Name and size of the caches of a core.
fn caches(folder: &Path) -> Vec<(String, String)> {
    let mut caches = Vec::new();
    for index in 0.. {
        let entry = folder.join(format!("index{index}"));
        let read = |name: &str| fs::read_to_string(entry.join(name)).map(|t| t.trim().to_string());
        let (Ok(level), Ok(kind), Ok(size)) = (read("level"), read("type"), read("size")) else {
            return caches;
        };
        let kind = match kind.as_str() {
            "Data" => "d",
            "Instruction" => "i",
            _ => "",
        };
        let size = kib(&size).map_or(size, |bytes| HumanBytes(bytes).to_string());
        let shared = read("shared_cpu_list").unwrap_or_default();
        let size = match shared.contains([',', '-']) {
            true => format!("{size}, shared by processors {shared}"),
            false => size,
        };
        caches.push((format!("L{level}{kind}"), size));
    }
    caches
}

/// The bytes of a size in KiB, as Linux writes it: `512K`, `24000 kB`.
fn kib(text: &str) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let unit = text[end..].trim();
    let number: u64 = text[..end].parse().ok()?;
    matches!(unit, "K" | "kB").then(|| number.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_from_linux_files() {
        let text = "processor\t: 0\nmodel name\t: A: B\nphysical id\t: 0\ncore id\t\t: 0\n\n\
                    processor\t: 1\nphysical id\t: 0\ncore id\t\t: 0\n\n";
        assert_eq!(field(text, "model name").as_deref(), Some("A: B"));
        let threads = Threads::choose(Some(1), &|_| None);
        assert!(cores(text, &threads).starts_with("1 physical, 2 logical; "));
        assert!(cores("", &threads).ends_with("for this process"));
        assert_eq!(
            (kib("512K"), kib("24 kB"), kib("x")),
            (Some(524_288), Some(24_576), None)
        );
        assert!(caches(Path::new("no/such/folder")).is_empty());
    }

    #[test]
    fn the_widest_feature_is_used() {
        assert!(products(&["sse", "fma", "avx512f"]).starts_with("avx512f, 16"));
        assert!(products(&["sse", "fma"]).starts_with("fma, 8"));
        assert_eq!(products(&["sse"]), "portable code");
    }

    #[test]
    fn instructions_for_bfloat16_are_told_one_by_one() {
        let here = Hardware {
            amx_tile: true,
            ..Hardware::default()
        };
        let said = bfloat16(here);
        assert!(
            said.starts_with("amx_tile, no amx_bf16, no avx512_bf16; "),
            "{said}"
        );
    }
}
