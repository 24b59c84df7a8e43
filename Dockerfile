# Keyturn's image: one program without shared libraries, the certificates of public authorities, and nothing else.
#
#   docker build -t keyturn .
#
# The same sources give the same image with --build-arg SOURCE_DATE_EPOCH=0 (BuildKit) or --timestamp 0 (buildah, podman).
FROM rust:1.95.0-bookworm AS builder
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    image/rootfs.sh /rootfs

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="keyturn" \
      org.opencontainers.image.description="A Kubernetes operator that owns the whole life of an API key" \
      org.opencontainers.image.source="https://github.com/keyturn/keyturn" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=builder /rootfs/ /
USER 65532:65532
ENTRYPOINT ["/keyturn"]
