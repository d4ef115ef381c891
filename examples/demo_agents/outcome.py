"""What came of the run: the verdict, and a line for each service."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from examples.demo_agents.run_watch import RunRecord

_SUMS = ("files", "lines", "functions", "classes")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run that has ended, and what it is compared with.

    Args:
        expected: the figures of all files, by a direct computation.
        pushed: the report as the repository has it; None: there is no repository.
        inputs: what the machine has.
    """

    record: RunRecord
    expected: dict[str, Any]
    pushed: bytes | None
    inputs: dict[str, bool]

    @property
    def output(self) -> dict[str, Any]:
        found = self.record.response.get("output")
        return found if isinstance(found, dict) else {}

    @property
    def faults(self) -> list[str]:
        """All that is wrong."""
        if not self.output:
            error = self.record.response.get("error", {}).get("message", "no output")
            return [f"the run has failed: {error}"]
        total = self.output["total"]
        found = [
            f"{name}: {total[name]:.0f} are told, {self.expected[name]} are there"
            for name in _SUMS
            if int(total[name]) != self.expected[name]
        ]
        if self.pushed is not None and self.pushed.decode() != self.output["report"]:
            found.append("the repository has another report than the run")
        if not self.record.killed:
            found.append("the run was over before an agent could be killed")
        if self.inputs["sandbox"] and not all(part["sandbox_at"] for part in self.output["parts"]):
            found.append("a part was not measured in a sandbox")
        return found

    @property
    def figures(self) -> dict[str, Any]:
        """The line of `--json`."""
        lost = sum(attempt.crashed for task in self.record.tasks for attempt in task.attempts)
        return {
            "parts": len(self.output.get("parts", ())),
            "files": int(self.output.get("total", {}).get("files", 0)),
            "tasks": len(self.record.tasks),
            "killed": self.record.killed,
            "attempts_lost": lost,
            "recovered_s": round(self.record.recovered_s, 2),
            "took_s": round(self.record.took_s, 1),
            **self.inputs,
            "summary_by": self.output.get("by", ""),
            "faults": self.faults,
        }

    def lines(self) -> list[tuple[str, str]]:
        """Each service, and what it did."""
        output, figures = self.output, self.figures
        sandboxes = Counter(part["sandbox_at"] for part in output["parts"] if part["sandbox_at"])
        at = ", ".join(f"{agent} {count}" for agent, count in sorted(sandboxes.items()))
        pushed = (output["published"] or {}).get("push")
        repositories = "not used: there is no git"
        if pushed:
            repositories = f"cloned {figures['files']} files; pushed STUDY.md to the branch {pushed['branch']}, commit {pushed['head'][:12]}"
        lost = f"{figures['attempts_lost']} attempts were lost with {figures['killed'] or 'nobody'}"
        return [
            ("hardware", self._hardware()),
            ("arbiter", f"{output['reserved']:g} cpu were reserved for the study, and are free again"),
            ("repositories", repositories),
            (
                "sandboxes",
                f"{sandboxes.total()} without network: {at}"
                if sandboxes
                else "not used: processes measured the files",
            ),
            ("assigner", self._assigner()),
            ("models", f"the summary is by {output['by']}"),
            (
                "planner",
                f"{figures['tasks']} tasks in {figures['took_s']} s; {lost}, and run again elsewhere within {figures['recovered_s']} s",
            ),
        ]

    def _hardware(self) -> str:
        snapshot, suggested = self.output["snapshot"], self.output["suggestions"] or ()
        processor, memory = snapshot["processor"], snapshot["memory"]
        gib = int(memory["sizeBytes"]) / 2**30
        advice = suggested[0]["reason"] if suggested else "Nothing is wrong."
        cores = int(processor["logicalCores"])
        return f"{cores} cores, {processor.get('useRatio', 0.0):.0%} used; {gib:.0f} GiB of memory. {advice}"

    def _assigner(self) -> str:
        forecast = self.output["forecast"]
        run_s, likely_s = (float(str(forecast.get(name, "0s")).rstrip("s")) for name in ("runTime", "likely"))
        return f"a measurement takes {run_s:.1f} s; another one would start after {likely_s:.1f} s"
