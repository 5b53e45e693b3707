# The control plane is installed into a virtual environment, and that alone goes into the image that runs.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/controlplane
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY controlplane controlplane
RUN /opt/controlplane/bin/python -m pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt .

FROM python:3.11-slim-bookworm
RUN useradd --system --no-log-init --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin controlplane \
    && install --directory --owner=controlplane --group=controlplane \
        /var/lib/controlplane /var/lib/controlplane/log /var/lib/controlplane/bootstrap
COPY --from=build /opt/controlplane /opt/controlplane
ENV PATH=/opt/controlplane/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /var/lib/controlplane
USER 10001:10001
# xDS; probes and metrics.
EXPOSE 18000 18001
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:18001/readyz', timeout=2)"]
ENTRYPOINT ["controlplane"]
CMD ["--help"]
