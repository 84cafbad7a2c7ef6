//! Which method a path means. All services of BuildKit's that are spoken here, each method once.

use super::{
    Buildkit, bridge, grpc,
    grpc::Reply,
    proto::{Empty, Health, control, gateway},
    worker,
};
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use minke_model::Timestamp;
use std::sync::Arc;

impl Buildkit {
    /// Answers one call.
    pub(crate) async fn call(self: Arc<Self>, request: Request<Incoming>) -> Reply {
        let path = request.uri().path().to_owned();
        match path.as_str() {
            "/grpc.health.v1.Health/Check" => {
                grpc::unary(request, |_: tonic::Request<Empty>| async { Ok(Health { status: 1 }) }).await
            }
            "/moby.buildkit.v1.Control/Info" => {
                let version = Some(worker::version(""));
                let info = control::InfoResponse { buildkit_version: version };
                grpc::unary(request, |_: tonic::Request<Empty>| async { Ok(info) }).await
            }
            "/moby.buildkit.v1.Control/ListWorkers" => {
                let record = vec![worker::record(&self.engine)];
                let workers = control::ListWorkersResponse { record };
                grpc::unary(request, |_: tonic::Request<Empty>| async { Ok(workers) }).await
            }
            "/moby.buildkit.v1.Control/DiskUsage" => {
                grpc::unary(request, |r: tonic::Request<_>| self.disk_usage(r.into_inner())).await
            }
            "/moby.buildkit.v1.Control/Prune" => {
                grpc::server_streaming(request, |r: tonic::Request<_>| self.prune(r.into_inner())).await
            }
            "/moby.buildkit.v1.Control/Solve" => {
                grpc::unary(request, |r: tonic::Request<_>| self.solve(r.into_inner())).await
            }
            "/moby.buildkit.v1.Control/Status" => {
                let answer = |r: tonic::Request<_>| self.status(r.into_inner());
                stamped(grpc::server_streaming(request, answer).await)
            }
            "/moby.buildkit.v1.Control/ListenBuildHistory" => {
                let answer = |r: tonic::Request<_>| self.listen(r.into_inner());
                stamped(grpc::server_streaming(request, answer).await)
            }
            "/moby.buildkit.v1.Control/UpdateBuildHistory" => {
                grpc::unary(request, |r: tonic::Request<_>| async move {
                    self.update_history(&r.into_inner()).map(|()| Empty {})
                })
                .await
            }
            "/moby.buildkit.v1.Control/Session" => grpc::streaming(request, |r| self.session(r)).await,
            "/containerd.services.content.v1.Content/Info" => {
                grpc::unary(request, |r: tonic::Request<_>| async move { self.blob_info(&r.into_inner()) })
                    .await
            }
            "/containerd.services.content.v1.Content/Read" => {
                grpc::server_streaming(request, |r: tonic::Request<_>| self.read_blob(r.into_inner())).await
            }
            _ => match path.strip_prefix("/moby.buildkit.v1.frontend.LLBBridge/") {
                Some(method) => self.bridge(method, request).await,
                None => grpc::unknown(&path),
            },
        }
    }

    /// Answers one call about a build that its client has a side of.
    async fn bridge(self: Arc<Self>, method: &str, request: Request<Incoming>) -> Reply {
        match method {
            "Ping" => {
                grpc::unary(request, |r: tonic::Request<Empty>| async move {
                    self.job_of(r.metadata()).await.map(|_| self.pong())
                })
                .await
            }
            "Solve" => {
                grpc::unary(request, |r: tonic::Request<_>| async move {
                    let job = self.job_of(r.metadata()).await?;
                    self.bridge_solve(&job, r.into_inner()).await
                })
                .await
            }
            "Return" => {
                grpc::unary(request, |r: tonic::Request<_>| async move {
                    let job = self.job_of(r.metadata()).await?;
                    Ok(bridge::give_back(&job, r.into_inner()))
                })
                .await
            }
            "Inputs" => {
                grpc::unary(request, |r: tonic::Request<Empty>| async move {
                    self.job_of(r.metadata()).await.map(|_| bridge::inputs())
                })
                .await
            }
            "Evaluate" => {
                grpc::unary(request, |r: tonic::Request<gateway::EvaluateRequest>| async move {
                    let job = self.job_of(r.metadata()).await?;
                    bridge::evaluate(&job, &r.into_inner().reference)
                })
                .await
            }
            "Warn" => {
                grpc::unary(request, |r: tonic::Request<_>| async move {
                    let job = self.job_of(r.metadata()).await?;
                    bridge::warn(&job, r.into_inner())
                })
                .await
            }
            "ReadFile" => {
                grpc::unary(request, |r: tonic::Request<_>| async move {
                    let job = self.job_of(r.metadata()).await?;
                    self.read_file(&job, r.into_inner()).await
                })
                .await
            }
            "ReadDir" => {
                grpc::unary(request, |r: tonic::Request<_>| async move {
                    let job = self.job_of(r.metadata()).await?;
                    self.read_dir(&job, r.into_inner()).await
                })
                .await
            }
            "StatFile" => {
                grpc::unary(request, |r: tonic::Request<_>| async move {
                    let job = self.job_of(r.metadata()).await?;
                    self.stat_file(&job, r.into_inner()).await
                })
                .await
            }
            "ResolveImageConfig" => {
                grpc::unary(request, |r: tonic::Request<_>| async move {
                    let job = self.job_of(r.metadata()).await?;
                    self.resolve_image_config(&job, r.into_inner()).await
                })
                .await
            }
            "ResolveSourceMeta" => {
                grpc::unary(request, |r: tonic::Request<_>| async move {
                    let job = self.job_of(r.metadata()).await?;
                    self.resolve_source(&job, r.into_inner()).await
                })
                .await
            }
            _ => grpc::unknown(request.uri().path()),
        }
    }
}

/// With the daemon's time, by which clients tell how long a build runs.
fn stamped(mut reply: Reply) -> Reply {
    if let Ok(now) = HeaderValue::from_str(&Timestamp::now().to_string()) {
        reply.headers_mut().insert("buildkit-current-timestamp", now);
    }
    reply
}
