# docker build --target coordinator -t weft-coordinator .
# docker build --target agent -t weft-agent .
# docker build --target sidecar -t weft-sidecar .
# Images after weft's own base have no RUN: for another architecture nothing needs to be emulated. docs/deploy/images.md
ARG BASE=python:3.13-slim
# Other than the base where it runs on the building machine and not on the image's: --build-arg BUILDER=...
ARG BUILDER=python:3.13-slim

FROM --platform=$BUILDPLATFORM ${BUILDER} AS tools
WORKDIR /src
# Removes debug symbols, of any architecture.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends elfutils >/dev/null && rm -rf /var/lib/apt/lists/*
# Pinned tools of the project, in the locks' versions: one installs, one lists what is installed (SBOM).
COPY requirements.lock requirements-release.lock ./
RUN python -m pip install --no-cache-dir --quiet "$(sed -n 's/^\(uv==[0-9.]*\).*/\1/p' requirements.lock)" \
 && uv venv --quiet /opt/tools && uv pip sync --quiet --no-cache --python /opt/tools/bin/python --require-hashes requirements-release.lock
# The base has no bytecode of the standard library, and a user without rights cannot write it: each start would compile it.
# It is checked against the sources' hashes, so that a base of another version is right, too.
RUN mkdir /opt/home /opt/bytecode && cd "$(python -c 'import sysconfig; print(sysconfig.get_path("platstdlib"))')/.." \
 && python -m compileall -q --invalidation-mode checked-hash -x '/(test|tests|idlelib|tkinter|turtledemo|ensurepip|lib2to3|site-packages|pydoc_data)/' python3* \
 && find python3* -name __pycache__ -not -path '*/site-packages/*' | tar -cf - -T - | tar -C /opt/bytecode -xf -
COPY . .

FROM tools AS coordinator-tree
ARG TARGETARCH
RUN python scripts/image_tree.py coordinator /opt/weft --sbom /opt/tools/bin/cyclonedx-py ${TARGETARCH:+--arch $TARGETARCH}

FROM tools AS agent-tree
ARG TARGETARCH
RUN python scripts/image_tree.py agent /opt/weft --sbom /opt/tools/bin/cyclonedx-py ${TARGETARCH:+--arch $TARGETARCH}
# A clone's files have the rights that its owner's umask left them.
RUN chmod -R u=rwX,go=rX examples

# Said though it is the default: buildah before 1.30 would go on with the platform of the stage above.
FROM --platform=$TARGETPLATFORM ${BASE} AS runtime
LABEL org.opencontainers.image.title="weft" \
      org.opencontainers.image.description="A service mesh for tasks on gRPC" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
# Nobody by a name: whatever user a cluster chooses has the same rights.
COPY --from=tools --chown=10001:10001 /opt/home /var/lib/weft
COPY --from=tools /opt/bytecode /usr/local/lib
ENV PATH=/opt/weft/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/var/lib/weft PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/weft
# As process 1 it forwards signals and waits for orphans; no init is needed.
ENTRYPOINT ["weft"]

# The store is in the volume: one container owns it at a time.
FROM runtime AS coordinator
COPY --from=coordinator-tree /opt/weft /opt/weft
VOLUME /var/lib/weft
EXPOSE 7700
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["weft", "health", "--target", "127.0.0.1:7700"]
# Other containers reach it: it wants TLS and tokens, by variables WEFT_TLS_CERT, WEFT_TLS_KEY and WEFT_TOKENS=on, or WEFT_INSECURE=true.
CMD ["coordinator", "--listen", "0.0.0.0:7700", "--store", "/var/lib/weft/weft.db"]

# Stands beside a stock server in its network, and is its way into the mesh.
FROM runtime AS sidecar
COPY --from=agent-tree /opt/weft /opt/weft
ENV WEFT_TARGET=coordinator:7700
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["weft", "health", "--target", "127.0.0.1:7701"]
CMD ["agent", "--app", "127.0.0.1:50051", "--egress", "127.0.0.1:7701"]

# Hosts the example. Build your own image on this one: copy your package to /app and name your agent.
FROM runtime AS agent
COPY --from=agent-tree /opt/weft /opt/weft
COPY --from=agent-tree /src/examples /app/examples
# Callers reach the port by the address that leads to the coordinator.
ENV PYTHONPATH=/app WEFT_TARGET=coordinator:7700 WEFT_AGENT_LISTEN=0.0.0.0:7711
EXPOSE 7711
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["weft", "health", "--target", "127.0.0.1:7711"]
CMD ["agent", "examples.corpus.agent:agent"]
