use super::*;

#[test]
fn public_routes_and_preflights_pass_without_a_key_and_name_nobody() {
    let preflight = || vec![("origin", "https://a".to_owned()), ("access-control-request-method", "POST".to_owned())];
    let engine = engine_with(record(|_| {}));
    for (method, target, headers, expected) in [
        ("GET", "/healthz", vec![], None),
        ("GET", "/healthz/", vec![bearer(1)], None),
        ("GET", "/healthz/../v1", vec![], Some(Code::BadRequest)),
        ("OPTIONS", "/v1/transcripts", preflight(), None),
        ("OPTIONS", "/elsewhere", preflight(), None),
        ("OPTIONS", "/v1/transcripts", preflight()[..1].to_vec(), Some(Code::Unauthorized)),
        ("OPTIONS", "/v1/transcripts", preflight()[1..].to_vec(), Some(Code::Unauthorized)),
        ("options", "/v1/transcripts", preflight(), Some(Code::Unauthorized)),
        ("POST", "/v1/transcripts", preflight(), Some(Code::Unauthorized)),
    ] {
        let verdict = ask(&engine, &Ask { method, target: target.to_owned(), headers, ..Ask::default() });
        assert_eq!(verdict.denial.map(|denial| denial.code), expected, "{method} {target}");
        assert!(verdict.identity.is_none(), "{method} {target}");
    }
    let strict = self::engine(index(api(|api| api.preflight = Preflight::RequireKey), vec![]));
    let request = Ask { method: "OPTIONS", headers: preflight(), ..Ask::default() };
    assert_eq!(code(&strict, &request), Some(Code::Unauthorized));
}

#[test]
fn a_named_route_is_judged_whatever_the_path_is() {
    let engine = engine_with(record(|_| {}));
    for (route, target, expected) in [
        ("read", "/whatever//..;", None),
        ("write", "/v1/transcripts/1", Some(Code::InsufficientScope)),
        ("health", "/", None),
        ("unknown", "/v1/transcripts/1", Some(Code::RouteNotFound)),
    ] {
        let request = Ask { route: Some(route), target: target.to_owned(), ..Ask::default() };
        assert_eq!(code(&engine, &request), expected, "{route}");
    }
    let lenient = self::engine(index(api(|api| api.unmatched = Unmatched::RequireKey), vec![record(|_| {})]));
    let request = Ask { route: Some("unknown"), ..Ask::default() };
    assert_eq!(code(&lenient, &request), Some(Code::RouteNotFound));
}

#[test]
fn unmatched_requests_need_a_key_where_the_api_lets_them_pass() {
    let lenient = api(|api| api.unmatched = Unmatched::RequireKey);
    let without_routes = api(|api| api.routes = Routes::default());
    for (api, target, expected) in [
        (Arc::clone(&lenient), "/elsewhere", None),
        (lenient, "/elsewhere//", Some(Code::BadRequest)),
        (without_routes, "/any//thing;..%2f", None),
    ] {
        let engine = engine(index(api, vec![record(|_| {})]));
        let request = Ask { target: target.to_owned(), ..Ask::default() };
        assert_eq!(code(&engine, &request), expected, "{target}");
        let nobody = Ask { headers: vec![], ..request };
        assert_eq!(code(&engine, &nobody), Some(expected.unwrap_or(Code::Unauthorized)));
    }
}

/// The route `use` for GET /v1/models/{model}, which reads the model there, in a header or in the query.
fn engine_of_models(resources: Vec<Access>) -> Engine {
    let from = [ValueSource::Path(0), ValueSource::Header("x-model".into()), ValueSource::Query("model".into())];
    let resource = RouteResource { kind: Arc::new(Kind::new("model", None)), from: from.into() };
    let route = |name, path| Route { resource: Some(resource.clone()), ..route(name, &["GET"], path, None) };
    let routes = Routes::build(vec![route("use", "/v1/models/{*model}"), route("any", "/v1/any")]).unwrap();
    let api = api(|api| api.routes = routes.clone());
    engine(index(api, vec![record(|key| key.resources = resources)]))
}

#[test]
fn what_a_request_is_for_is_read_where_the_route_says() {
    let allow = |allow: &str| Access { kind: "model".into(), allow: [allow.into()].into(), deny: [].into() };
    let engine = engine_of_models(vec![allow("gpt 4")]);
    let header = |value: &str| vec![bearer(1), ("x-model", value.to_owned())];
    for (target, route, headers, expected) in [
        ("/v1/models/llama", None, vec![bearer(1)], Some(Code::ResourceForbidden)),
        ("/v1/models/llama?model=gpt+4", None, header("gpt 4"), Some(Code::ResourceForbidden)),
        ("/v1/any?model=gpt+4", None, header("llama"), Some(Code::ResourceForbidden)),
        ("/v1/any?model=llama", None, vec![bearer(1)], Some(Code::ResourceForbidden)),
        ("/v1/any?model=gpt+4&model=llama", None, vec![bearer(1)], Some(Code::ResourceNotFound)),
        ("/v1/any?model=%ff", None, vec![bearer(1)], Some(Code::ResourceNotFound)),
        // As that route, whatever the path: what the path does not tell is read from the other places.
        ("/elsewhere?model=llama", Some("use"), vec![bearer(1)], Some(Code::ResourceForbidden)),
        ("/a//b?model=gpt+4", Some("use"), vec![bearer(1)], Some(Code::ResourceNotFound)),
        ("/v1/models/llama?model=gpt+4", Some("use"), vec![bearer(1)], Some(Code::ResourceForbidden)),
        ("/elsewhere?model=gpt+4", Some("use"), vec![bearer(1)], None),
        ("/v1/models/gpt%204", None, vec![bearer(1)], None),
        ("/v1/models/?model=gpt%204", None, vec![bearer(1)], None),
        ("/v1/any?model=gpt+4&model=gpt%204", None, vec![bearer(1)], None),
        ("/v1/any?model=llama", None, header(" gpt 4 "), None),
        ("/v1/any?mode=llama", None, header(""), None),
    ] {
        let request = Ask { target: target.to_owned(), route, headers: headers.clone(), ..Ask::default() };
        assert_eq!(code(&engine, &request), expected, "{target} {route:?} {headers:?}");
    }
    let api = engine.api("speech", "transcripts").unwrap();
    let codes = ["MODEL_FORBIDDEN", "REVOKED", "RUNTIME_FORBIDDEN"].map(|name| api.code(name));
    assert_eq!(codes, [Some(Code::ResourceForbidden), Some(Code::Revoked), None]);
    assert!(engine.api("speech", "unknown").is_none());
}

#[test]
fn a_resource_in_a_body_is_read_after_the_places_before_it() {
    let places = ["/runtime_id", "/model"].map(|pointer| ValueSource::Body(Pointer::parse(pointer).unwrap()));
    let from: Vec<_> = [ValueSource::Query("model".into())].into_iter().chain(places).collect();
    let resource = RouteResource { kind: Arc::new(Kind::new("model", None)), from: from.into() };
    let routes = vec![Route { resource: Some(resource), ..route("any", &["GET"], "/v1/any", None) }];
    let api = api(|api| api.routes = Routes::build(routes).unwrap());
    let access = Access { kind: "model".into(), allow: ["gpt".into()].into(), deny: [].into() };
    let engine = engine(index(api, vec![record(|key| key.resources = vec![access])]));
    let (forbidden, unclear) = (Some(Code::ResourceForbidden), Some(Code::ResourceNotFound));
    for (target, body, expected) in [
        ("/v1/any", Err("the proxy does not send bodies"), unclear),
        ("/v1/any", Ok(&b"model=gpt"[..]), unclear),
        ("/v1/any", Ok(br#"{"model":"gpt","model":"llama"}"#), unclear),
        ("/v1/any", Ok(br#"{"model":"gpt","MODEL":"llama"}"#), unclear),
        ("/v1/any", Ok(br#"{"model":"gpt","runtime_id":{}}"#), unclear),
        ("/v1/any", Ok(br#"{"model":"llama"}"#), forbidden),
        ("/v1/any", Ok(br#"{"model":"gpt","runtime_id":2}"#), forbidden),
        ("/v1/any?model=llama", Ok(br#"{"model":"gpt"}"#), forbidden),
        ("/v1/any?model=gpt", Err("the proxy does not send bodies"), None),
        ("/v1/any?model=gpt", Ok(br#"{"model":"llama"}"#), None),
        ("/v1/any", Ok(br#"{"model":"gpt","runtime_id":null}"#), None),
        ("/v1/any", Ok(br#"{"model":"gpt","runtime_id":""}"#), None),
        // Whether a request has to name a resource is the catalog's to say.
        ("/v1/any", Ok(br#"{"input":"x"}"#), None),
        ("/v1/any", Ok(b""), None),
    ] {
        let request = Ask { target: target.to_owned(), body, headers: vec![bearer(1)], ..Ask::default() };
        assert_eq!(code(&engine, &request), expected, "{target} {body:?}");
    }
}
