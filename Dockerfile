# One image for the dashboard, the workers and start-study. Build with GPU=1 for workers that train on NVIDIA GPUs.
FROM python:3.12-slim

ARG GPU=0
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

# The packages first, against an empty project: a change of code then costs no new download of gigabytes.
WORKDIR /app
COPY pyproject.toml constraints.txt ./
RUN mkdir hpsearch && touch hpsearch/__init__.py README.md \
    && extra=$(if [ "$GPU" = 1 ]; then echo "[gpu]"; fi) \
    && pip install --quiet --constraint constraints.txt setuptools \
    && pip install --quiet --constraint constraints.txt --no-build-isolation ".$extra"

COPY README.md ./
COPY hpsearch hpsearch
COPY studies studies
RUN pip install --quiet --no-deps --no-build-isolation --force-reinstall .

# /data holds the datasets: those put there by hand, and in /data/cache those downloaded.
RUN useradd --create-home --uid 1000 hpsearch && install --directory --owner hpsearch --group hpsearch /data
# by number, since Kubernetes cannot tell that a name is not root's (runAsNonRoot)
USER 1000
ENV HPSEARCH_DATA_DIR=/data \
    XDG_CACHE_HOME=/data/cache

CMD ["hpsearch", "--help"]
