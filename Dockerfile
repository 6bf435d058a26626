# Two images from one file:
#   docker build -t recsvc .                              the service; holds nothing of training
#   docker build -t recsvc-training --target training .   the commands that train
# A registry on an object store needs one more package in the service:
#   docker build -t recsvc --build-arg EXTRAS=[s3] .

FROM python:3.11-slim-bookworm AS python
ENV PATH=/opt/recsvc/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# A number that no host user is likely to have; Kubernetes needs it as a number.
RUN groupadd --gid 10001 recsvc \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/recsvc --no-create-home recsvc \
 && install --directory --owner=10001 --group=10001 /var/lib/recsvc


FROM python AS source
ENV PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/recsvc
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY recsvc/ recsvc/
COPY training/ training/


FROM source AS training-packages
RUN pip install -c constraints.txt ".[training,s3]"


FROM source AS service-packages
ARG EXTRAS=""
RUN pip install -c constraints.txt ".${EXTRAS}"


FROM python AS training
# implicit's wheel links the system's OpenMP library, which the slim image lacks.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgomp1=12.* \
 && rm -rf /var/lib/apt/lists/*
COPY --from=training-packages /opt/recsvc /opt/recsvc
USER 10001:10001
WORKDIR /var/lib/recsvc
# Libraries keep compiled code and caches under these; the root file system may be read-only.
ENV HOME=/tmp \
    OMP_WAIT_POLICY=PASSIVE
ENTRYPOINT ["recsvc-train"]
CMD ["--help"]


FROM python AS service
COPY --from=service-packages /opt/recsvc /opt/recsvc
RUN install --directory --owner=10001 --group=10001 /srv/registry
ENV RECSVC_DATA_DIR=/var/lib/recsvc \
    RECSVC_HOST=0.0.0.0 \
    RECSVC_LOG_FORMAT=json \
    RECSVC_PORT=8000 \
    RECSVC_REGISTRY=/srv/registry
USER 10001:10001
WORKDIR /var/lib/recsvc
# The embedded Redis writes here. With --read-only, add --tmpfs /tmp.
VOLUME ["/var/lib/recsvc"]
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['RECSVC_PORT']), timeout=2); c.request('GET', '/livez'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["recsvc"]
CMD ["serve"]
