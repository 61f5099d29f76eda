"""Numbers of all rounds to a Markdown table."""

from statistics import median


def summary(results, rounds):
    """What each engine's rounds come to; the ratio is dsd's rate over the peer's, round by round."""
    ours = results["dsd"]["rounds"]
    rows = {}
    for name, result in results.items():
        done = result["rounds"]
        row = {"difference": result.get("difference"), "agrees": result.get("agrees", True)}
        row["reason"] = result.get("reason")
        if len(done) == rounds and done:
            row["rate"] = median(r["rate"] for r in done)
            row["best"] = max(r["best"] for r in done)
            row["peak_mb"] = median(r["peak_mb"] for r in done)
            if len(ours) == rounds:
                ratios = [a["rate"] / b["rate"] for a, b in zip(ours, done)]
                row["ratio"], row["ratios"] = median(ratios), ratios
        rows[name] = row
    return rows


def markdown(title, machine, rows, rounds, difference):
    """The table with its heading and its last line."""
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
    lines = [
        f"### {title}",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, {' '.join(machine['flags'])}, {machine['memory_gb']} GB, "
        f"{machine['system']}; {machine['date']}; load before: {machine['load_before']:.2f}.",
        f"{versions}.",
        f"{rounds} interleaved rounds; {machine['precision']}, {machine['threads']} threads each.",
        "",
        f"| engine | images/s, median (best) | dsd is … times as fast (min–max) | peak MB | {difference} |",
        "| --- | --- | --- | --- | --- |",
    ]
    ordered = sorted(rows, key=lambda name: -rows[name].get("rate", 0.0))
    lines += [_row(name, rows[name]) for name in ordered]
    return "\n".join([*lines, "", fastest(rows)])


def _row(name, row):
    if "rate" not in row:
        return f"| {name} | not run: {row['reason'] or 'no result'} | | | {_difference(row)} |"
    ratio = "" if name == "dsd" or "ratio" not in row else _ratio(row)
    rate = f"{row['rate']:.2f} ({row['best']:.2f})"
    return f"| {name} | {rate} | {ratio} | {row['peak_mb']:.0f} | {_difference(row)} |"


def _ratio(row):
    return f"{row['ratio']:.2f} ({min(row['ratios']):.2f}–{max(row['ratios']):.2f})"


def _difference(row):
    if row["difference"] is None:
        return ""
    return f"{row['difference']:.1e}" + ("" if row["agrees"] else " **disagrees**")


def fastest(rows):
    """The line that says how dsd stands to the fastest peer whose outputs agree."""
    peers = {n: r for n, r in rows.items() if n != "dsd" and "ratio" in r and r["agrees"]}
    if not peers:
        return "fastest peer: none was measured"
    name = min(peers, key=lambda n: peers[n]["ratio"])
    row = peers[name]
    low, high = min(row["ratios"]), max(row["ratios"])
    return f"fastest peer: {name}; dsd is {row['ratio']:.2f} times as fast ({low:.2f}–{high:.2f} over rounds)"
