"""The agent as an application sees it: its methods, its settings, and how it is run."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ValidationError

from weft.agent.agent_figures import AgentFigures
from weft.agent.agent_parts import AgentParts
from weft.agent.errors import HostingError, SettingsError
from weft.agent.handlers.mesh_clients import MeshClients
from weft.agent.hosting.hosted_methods import check_runnable
from weft.agent.operators_ports import operators_ports
from weft.agent.payload_settings import with_payloads
from weft.agent.process import event_loop
from weft.agent.process.patched import refuse_patched
from weft.agent.process.replacement import end_and_replace, take_kept_id
from weft.agent.runtime import Runtime, run_here
from weft.agent.session.joining import Joining
from weft.agent.settings import AgentSettings, with_files
from weft.rpc.payloads.payload_options import Payloads
from weft.rpc.process import logs
from weft.rpc.process.event_loops import new_event_loop
from weft.rpc.process.standard_streams import fill_missing
from weft.rpc.security.tls import Tls
from weft.rpc.telemetry.figures import Figures

if TYPE_CHECKING:
    from weft.client import Mesh
    from weft.client.sync import SyncMesh

_log = logs.get_logger("weft.agent")


class Agent(AgentParts):
    """Hosts gRPC methods for a mesh: takes tasks from a coordinator and runs their handlers.

        agent = Agent()
        agent.add_servicer(analyst_pb2_grpc.add_AnalystServicer_to_server, Analyst())

        if __name__ == "__main__":
            agent.run()

    Settings that are not given here come from WEFT_AGENT_* variables, then (under the command `weft`) from files, then from `AgentSettings`' defaults.

    Large because it is all that most programs use: each setting is a keyword of its constructor, which editors and type
    checkers know, and each thing that a program does with its agent is a method.

    Args:
        agent_id: name, unique among live agents. Default: the host's name and six random digits.
        target: the coordinator's "host:port"; or several, in a list or with commas: when one is lost, another is
            dialled. A name may stand for several too.
        namespace: the one that it is in. Default: the one that its token names, or `default`.
        slots: how many calls run at a time, each counted by its method's `slot_cost`.
        prefetch: slots' worth of assignments to have at hand beyond that.
        labels: tasks' requirements are matched against them.
        resources: as labels, with amounts.
        drain_grace_s: how long running handlers may take when the agent is told to stop.
        restart_at_overrun_slots: end, as after `stop`, and raise OverrunError from `run` and `serve`, when handlers that
            ignore their cancellation hold so many slots. Default: never.
        end_when_idle_s: end, as after `stop`, after so long without a call or task. Default: never.
        listen: where its direct server listens, "host:port" or "unix:path"; "off": it has none. Default: a free port on
            the address that leads to the coordinator.
        advertised_address: where others reach the direct server. Default: where it listens.
        discovery: the URL of a registry into which its services are written, such as "consul://127.0.0.1:8500". Default: none.
        use_proxy: use the proxy on the way to coordinators that the environment names (`https_proxy` and the like).
        direct_wait_s: how long a direct call waits for a slot, unless its caller can try another agent.
        direct_queue: how many direct calls may wait for a slot at a time.
        max_message_bytes: largest request or response of a direct call.
        show_errors: tell operators, with the task, what handlers raise: type, text and traceback. False: it stays in
            the agent's log. Callers never see it.
        replace_options: put the task policies of its methods in force for all agents, also if connected ones have others. By
            default it is refused until they are gone, and dials on.
        metrics: where Prometheus scrapes its metrics, "host:port". Default: nowhere.
        channelz: where operators ask gRPC for its connections, "host:port". Default: nowhere.
        tls: its certificates; True: verify coordinators by the system's authorities. Default: by the variables WEFT_TLS_*.
        payloads: how coded calls are read and answered. Default: by the variables WEFT_PAYLOAD_*.
        token: what it shows coordinators, or the path of a file that has it, which is read again when it changes. Default: by the
            variables WEFT_TOKEN and WEFT_TOKEN_FILE.
        insecure: its ports may be open to other machines without TLS and a check of callers. Default: they are refused.

    Raises:
        InvalidArgument: a setting has a value that it cannot have.
    """

    # Its settings, and their defaults.
    settings_type: ClassVar[type[AgentSettings]] = AgentSettings
    # While it joins its mesh.
    _joining: Joining | None = None
    # Its id, if that was generated.
    _generated_id: str | None = None
    # An operator restarts it.
    _restarts = False

    def __init__(
        self,
        agent_id: str | None = None,
        *,
        target: str | Sequence[str] | None = None,
        namespace: str | None = None,
        slots: int | None = None,
        prefetch: int | None = None,
        labels: Mapping[str, str] | None = None,
        resources: Mapping[str, float] | None = None,
        drain_grace_s: float | None = None,
        restart_at_overrun_slots: int | None = None,
        end_when_idle_s: float | None = None,
        listen: str | None = None,
        advertised_address: str | None = None,
        discovery: str | None = None,
        use_proxy: bool | None = None,
        direct_wait_s: float | None = None,
        direct_queue: int | None = None,
        max_message_bytes: int | None = None,
        show_errors: bool | None = None,
        replace_options: bool | None = None,
        metrics: str | None = None,
        channelz: str | None = None,
        tls: Tls | bool | None = None,
        payloads: Payloads | None = None,
        token: str | Path | None = None,
        insecure: bool | None = None,
    ) -> None:
        super().__init__()
        self.figures = Figures()  # its metrics, while it runs
        self._given: dict[str, Any] = {}
        self.settings = self.settings_type.model_construct()
        self.configure(
            agent_id=self._own_id() if agent_id is None else agent_id,
            target=target,
            namespace=namespace,
            slots=slots,
            prefetch=prefetch,
            labels=labels,
            resources=resources,
            drain_grace_s=drain_grace_s,
            restart_at_overrun_slots=restart_at_overrun_slots,
            end_when_idle_s=end_when_idle_s,
            listen=listen,
            advertised_address=advertised_address,
            discovery=discovery,
            use_proxy=use_proxy,
            direct_wait_s=direct_wait_s,
            direct_queue=direct_queue,
            max_message_bytes=max_message_bytes,
            show_errors=show_errors,
            replace_options=replace_options,
            metrics=metrics,
            channelz=channelz,
            tls=tls,
            payloads=payloads,
            token=token,
            insecure=insecure,
        )

    def _own_id(self) -> str | None:
        """The id of an agent that was given none: that of before, if an operator has restarted its process."""
        self._generated_id = take_kept_id()
        return self._generated_id

    def configure(self, *, agent_id: str | None = None, **settings: Any) -> None:
        """Change settings before the agent runs, by the names of the constructor's arguments; None changes nothing.

        Raises:
            InvalidArgument: a setting has a wrong value, or there is no setting of that name.
        """
        changes = with_payloads(with_files({"id": agent_id, **settings}))
        given = self._given | {name: value for name, value in changes.items() if value is not None}
        try:
            self.settings = self.settings_type(**given)
        except ValidationError as error:
            faults = self.settings_type.faults(error, given)
            text = "; ".join(map(str, faults))
            raise SettingsError(f"agent setting {text}", field=faults[0].name) from None
        if "id" not in self.settings.model_fields_set:
            self._generated_id = self.settings.id
        # A generated id stays when other settings are changed later.
        self._given = given | {"id": self.settings.id}

    @property
    def id(self) -> str:
        """This agent's name."""
        return self.settings.id

    @property
    def connected(self) -> bool:
        """Whether it runs and has an open session with a coordinator."""
        return self._runtime is not None and self._runtime.connected

    @property
    def direct_address(self) -> str:
        """Where its direct server is reached; empty when it does not run, or has none."""
        return "" if self._runtime is None else self._runtime.direct_address

    @property
    def mesh(self) -> Mesh:
        """A client of the agent's own mesh, for its hooks and background functions, on the agent's event loop.

        It is made when it is first asked for, and closed with the agent. Handlers have the same by `current_task().mesh`.

        Raises:
            HostingError: the agent does not run.
        """
        return self._clients().mesh

    @property
    def sync_mesh(self) -> SyncMesh:
        """The same for functions that run in threads. Handlers have it by `current_task().sync_mesh`.

        Raises:
            HostingError: the agent does not run.
            WrongThread: it is used on the agent's event loop, which it would block.
        """
        return self._clients().sync_mesh

    def _clients(self) -> MeshClients:
        if self._runtime is None:
            raise HostingError("the agent does not run: its mesh exists from its on_start functions on")
        return self._runtime.clients

    def run(self) -> None:
        """Run until SIGTERM, SIGINT or SIGHUP, then drain. Blocks; the process should be the agent's own.

        In another thread than the main one it gets no signals, and runs until `stop`.
        The first signal drains: no new work, waiting attempts are released, running handlers get `drain_grace_s`. The
        second ends it at once, unless it is SIGHUP, which closed terminals send more than once. If SIGHUP is ignored,
        as under `nohup`, it stays ignored.

        If an operator restarts it (`weft agents restart`), the process ends in order, by SystemExit, and the same command begins anew in its place.

        Raises:
            WeftError: a coordinator refused this agent for good; the message is the coordinator's.
            HostingError: there is nothing to host.
            ListenError: the direct server, the metrics or channelz cannot have their address.
            HookError: an on_start function raised.
            OverrunError: handlers that ignore their cancellation hold `restart_at_overrun_slots`.
        """
        fill_missing()
        event_loop.warn_as_first_process()
        loop = new_event_loop()
        loop.set_exception_handler(logs.tell_loop_failure)
        main = threading.current_thread() is threading.main_thread()
        try:
            event_loop.run_to_end(loop, self._join_and_serve(own_process=main))
        finally:
            event_loop.close(loop)
        if self._restarts:
            end_and_replace(self._kept_id)

    @property
    def _kept_id(self) -> str | None:
        return self.id if self.id == self._generated_id else None

    async def serve(self) -> None:
        """As `run`, on the application's own event loop: async handlers run on it, and signals are left alone.

        Ends after `stop`, or when cancelled: then running attempts are released at once.
        """
        await self._join_and_serve(own_process=False)

    @property
    def restarts(self) -> bool:
        """Whether a new program will take the process over when `run` has ended: an operator restarts the agent."""
        return self._restarts or (self._runtime is not None and self._runtime.commands.restarts)

    def stop(self) -> None:
        """Drain and end, from any thread; a second time: without waiting. Harmless when it does not run."""
        if self._joining is not None:
            self._joining.stop()
        if self._runtime is not None:
            self._runtime.stop()

    async def _join_and_serve(self, *, own_process: bool) -> None:
        """Serve; before that, join a mesh that makes certificates by itself."""
        if self.settings.tls_pin:
            self._joining = Joining(self.settings)
            try:
                found = await self._joining.run(own_process=own_process)
            finally:
                self._joining = None
            if found is None:
                return
            self.configure(**found)
        await self._serve(own_process=own_process)

    async def _serve(self, *, own_process: bool) -> None:
        self._check()
        async with operators_ports(self.settings, self.figures) as figures:
            figures.ask_gauges(self._gauges)
            await self._run(figures, own_process=own_process)

    def _check(self) -> None:
        """Raise HostingError if it cannot run."""
        if self._runtime is not None:
            raise HostingError("the agent runs already")
        refuse_patched()
        check_runnable(self._methods.values(), self.settings.slots)

    async def _run(self, figures: AgentFigures, *, own_process: bool) -> None:
        runtime = self._runtime = self._make_runtime(figures, exit_when_blocked=own_process)
        runtime.commands.generated_id = self._kept_id
        try:
            await run_here(runtime, self.stop, own_process=own_process)
        finally:
            self._runtime = None
            self._restarts = runtime.commands.restarts

    def _make_runtime(self, figures: AgentFigures, *, exit_when_blocked: bool) -> Runtime:
        parts = self.settings, self._methods, self._hooks, figures, self._gauges
        return Runtime(*parts, exit_when_blocked=exit_when_blocked)
