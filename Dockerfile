# docker build --target coordinator -t weft-coordinator .
# docker build --target agent -t weft-agent .
FROM python:3.13-slim AS build
WORKDIR /src
# One of the pinned tools of the project; the lock has its exact version and hashes.
COPY requirements.lock ./
RUN pip install --no-cache-dir "$(sed -n 's/^\(uv==[0-9.]*\).*/\1/p' requirements.lock)"
COPY . .
# The lock's versions of what weft needs to run; the rest of the lock is for development.
RUN uv venv /opt/weft && uv pip install --compile-bytecode --python /opt/weft/bin/python --constraints requirements.lock ".[all]"

FROM python:3.13-slim AS runtime
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/weft weft
COPY --from=build /opt/weft /opt/weft
ENV PATH=/opt/weft/bin:$PATH PYTHONUNBUFFERED=1
USER weft
WORKDIR /var/lib/weft
# As process 1 it forwards signals and waits for orphans; no init is needed.
ENTRYPOINT ["weft"]

# The store is in the volume: one container owns it at a time.
FROM runtime AS coordinator
VOLUME /var/lib/weft
EXPOSE 7700
# Other containers reach it: it wants TLS and tokens, by variables WEFT_TLS_CERT, WEFT_TLS_KEY and WEFT_TOKENS=on, or WEFT_INSECURE=true.
CMD ["coordinator", "--listen", "0.0.0.0:7700", "--store", "/var/lib/weft/weft.db"]

# Hosts the example. Build your own image on this one: copy your package to /app and name your agent.
FROM runtime AS agent
COPY examples /app/examples
ENV PYTHONPATH=/app WEFT_TARGET=coordinator:7700
CMD ["agent", "examples.corpus.agent:agent"]
