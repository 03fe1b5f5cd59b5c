//! What the document says of every field, parameter and header, so that none of it is lost again.

use crate::instance::start;
use crate::schema::Contract;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use touchline_api::limits;
use touchline_commands::Password;
use touchline_domain::reason::Reason;
use touchline_domain::{identity, posts, users};

/// A field of a request or an answer, a parameter or a header.
struct Place<'a> {
    /// Where, for people.
    at: String,
    name: String,
    /// What it is described by: the field, the parameter or the header itself.
    described: &'a Value,
    schema: &'a Value,
    /// Whether clients send it.
    is_sent: bool,
}

/// Every place of the document that holds a value.
fn places(contract: &Contract) -> Vec<Place<'_>> {
    let sent = reachable(contract, |operation| vec![&operation["requestBody"]]);
    let mut places = Vec::new();
    for (name, schema) in contract.document()["components"]["schemas"]
        .as_object()
        .unwrap()
    {
        let is_sent = sent.contains(name);
        fields(schema, &mut |field, described| {
            places.push(Place {
                at: format!("{name}.{field}"),
                name: field.to_owned(),
                described,
                schema: described,
                is_sent,
            });
        });
    }
    for (path, method, operation) in contract.operations() {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap().to_owned();
            places.push(Place {
                at: format!("{method} {path} {name}"),
                name,
                described: parameter,
                schema: &parameter["schema"],
                is_sent: true,
            });
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            for (name, header) in response["headers"].as_object().into_iter().flatten() {
                places.push(Place {
                    at: format!("{method} {path} {status} {name}"),
                    name: name.clone(),
                    described: header,
                    schema: &header["schema"],
                    is_sent: false,
                });
            }
        }
    }
    assert!(places.len() > 500, "{}", places.len());
    places
}

/// Does something with every field that an object has by itself or by what it is put together from.
fn fields<'a>(schema: &'a Value, then: &mut impl FnMut(&str, &'a Value)) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        then(name, field);
        fields(field, then);
        fields(&field["items"], then);
    }
    for parts in ["allOf", "oneOf", "anyOf"] {
        for part in schema[parts].as_array().into_iter().flatten() {
            fields(part, then);
        }
    }
}

/// The names of the schemas that parts of the operations refer to, at any depth.
fn reachable(contract: &Contract, parts: impl Fn(&Value) -> Vec<&Value>) -> BTreeSet<String> {
    let operations = contract.operations();
    let mut open: Vec<&Value> = operations
        .iter()
        .flat_map(|(_, _, operation)| parts(operation))
        .collect();
    let mut names = BTreeSet::new();
    while let Some(value) = open.pop() {
        match value {
            Value::Object(map) => {
                if let Some(name) = map.get("$ref").and_then(Value::as_str) {
                    let name = name.rsplit('/').next().unwrap();
                    if names.insert(name.to_owned()) {
                        open.push(contract.resolve(value));
                    }
                }
                open.extend(map.values());
            }
            Value::Array(list) => open.extend(list),
            _ => {}
        }
    }
    names
}

/// The types that a schema allows, whatever it is put together from.
fn types<'a>(contract: &'a Contract, schema: &'a Value) -> BTreeSet<&'a str> {
    let schema = contract.resolve(schema);
    let own = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let parts = ["oneOf", "anyOf"]
        .iter()
        .filter_map(|word| schema[word].as_array());
    own.into_iter()
        .chain(parts.flatten().flat_map(|part| types(contract, part)))
        .collect()
}

/// The keywords that say which texts are meant, in the schema or what it is put together from.
fn forms(contract: &Contract, schema: &Value) -> BTreeSet<&'static str> {
    let schema = contract.resolve(schema);
    let here = ["pattern", "enum", "format", "maxLength"];
    let here = here.into_iter().filter(|word| !schema[word].is_null());
    let parts = ["oneOf", "anyOf", "allOf"]
        .iter()
        .filter_map(|word| schema[word].as_array());
    here.chain(parts.flatten().flat_map(|part| forms(contract, part)))
        .chain(
            schema
                .get("items")
                .map(|items| forms(contract, items))
                .unwrap_or_default(),
        )
        .collect()
}

#[test]
fn everything_has_a_description() {
    let contract = Contract::generated();
    let missing: Vec<_> = places(&contract)
        .into_iter()
        .filter(|place| {
            place.described["description"]
                .as_str()
                .is_none_or(str::is_empty)
        })
        .map(|place| place.at)
        .collect();
    assert!(missing.is_empty(), "no description: {missing:#?}");
    for (name, schema) in contract.document()["components"]["schemas"]
        .as_object()
        .unwrap()
    {
        assert!(
            schema["description"].is_string(),
            "{name} has no description"
        );
    }
}

/// Where null is taken the document says so, and nowhere else. Held against the requests themselves:
/// each field of each body is sent as null.
#[tokio::test]
async fn null_is_taken_where_the_document_says_so() {
    let api = start().await;
    let contract = Contract::generated();
    let ana = api.fan("ana").await;
    let post = api.publish(&ana, "First").await.header("location");
    let sign_up = |role: &str, more: &Value| {
        let mut body = crate::instance::sign_up_body("ben");
        body["role"] = json!(role);
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    let player = json!({"birth_year": 2000, "playing_role": "any"});
    for (schema, method, path, body) in [
        ("NewPost", "POST", "/v1/posts", json!({"caption": "x"})),
        ("PostEdit", "PATCH", post.as_str(), json!({})),
        (
            "NewComment",
            "POST",
            &format!("{post}/comments"),
            json!({"text": "x"}),
        ),
        ("ProfileChange", "PATCH", "/v1/users/me", json!({})),
        (
            "SignUpFan",
            "POST",
            "/v1/accounts",
            sign_up("fan", &json!({})),
        ),
        (
            "SignUpPlayer",
            "POST",
            "/v1/accounts",
            sign_up("player", &player),
        ),
        (
            "SignUpCoach",
            "POST",
            "/v1/accounts",
            sign_up("coach", &json!({"experience_years": 1})),
        ),
    ] {
        let schema = &contract.document()["components"]["schemas"][schema];
        // What a role has not got is not taken as null either.
        let others = contract.document()["components"]["schemas"]["SignUpScout"]["properties"]
            .as_object()
            .unwrap();
        let of_others = others.keys().filter(|_| path == "/v1/accounts");
        let own = schema["properties"].as_object().unwrap();
        for field in own.keys().chain(of_others) {
            let mut body = body.clone();
            body[field] = Value::Null;
            let request = api
                .request(method.parse().unwrap(), path)
                .bearer_auth(&ana.token)
                .header("If-Match", "*");
            let answer = api.send(request.json(&body)).await;
            let documented = own
                .get(field)
                .is_some_and(|property| types(&contract, property).contains("null"));
            // An account that is there already is no matter of null.
            let taken = answer.status < 400 || answer.status == 409;
            assert_eq!(
                taken, documented,
                "{method} {path} {field}: {}",
                answer.body
            );
        }
    }
}

/// In an answer, what may be null is always there, and what may be absent is never null.
#[test]
fn answers_have_null_or_nothing_but_never_either() {
    let contract = Contract::generated();
    let answered = reachable(&contract, |operation| vec![&operation["responses"]]);
    let mut nullable = 0;
    for name in answered {
        let schema = &contract.document()["components"]["schemas"][&name];
        for part in schema["allOf"]
            .as_array()
            .into_iter()
            .flatten()
            .chain([schema])
        {
            for (field, property) in part["properties"].as_object().into_iter().flatten() {
                let required = part["required"].as_array().into_iter().flatten();
                if types(&contract, property).contains("null") {
                    nullable += 1;
                    assert!(
                        required.into_iter().any(|it| it == field),
                        "{name}.{field} may be null and absent"
                    );
                }
            }
        }
    }
    assert!(nullable > 30, "{nullable}");
}

/// Texts that are made here have a form, and so has what clients send.
#[test]
fn texts_have_a_form() {
    let contract = Contract::generated();
    for place in places(&contract) {
        if !types(&contract, place.schema).contains("string") {
            continue;
        }
        let forms = forms(&contract, place.schema);
        let name = place.name.to_lowercase();
        let is_made_here = [
            "token",
            "cursor",
            "etag",
            "position",
            "_after",
            "tree_size",
            "digest",
        ]
        .iter()
        .chain(["root", "hash", "if-match", "idempotency"].iter())
        .any(|part| name.contains(part));
        if is_made_here && name != "token_type" && name != "idempotency-replayed" {
            assert!(forms.contains("pattern"), "{} has no pattern", place.at);
        }
        // The name of a person is an id or a handle; a code is one of the catalogue, and others are
        // not found; of `Prefer` more is understood than a pattern can say; and whoever signs in is
        // told no more than that it was wrong.
        let is_free =
            ["code", "Prefer"].contains(&place.name.as_str()) || place.at.starts_with("SignIn.");
        if place.is_sent && !is_free {
            assert!(!forms.is_empty(), "{} takes any text", place.at);
        }
    }
}

/// The limits of values stand in the domain; the document repeats them.
#[test]
fn the_document_has_the_limits_of_the_domain() {
    let contract = Contract::generated();
    let schemas = &contract.document()["components"]["schemas"];
    let text = |schema: &str, min: usize, max: usize, pattern: Option<&str>| {
        let schema = &schemas[schema];
        assert_eq!(schema["maxLength"], max, "{schema}");
        assert_eq!(
            schema["minLength"].as_u64().unwrap_or(0),
            u64::try_from(min).unwrap(),
            "{schema}"
        );
        assert_eq!(schema["pattern"].as_str(), pattern, "{schema}");
    };
    macro_rules! texts {
        ($($schema:literal $value:ty),+ $(,)?) => {
            $(text($schema, <$value>::MIN_CHARS, <$value>::MAX_CHARS, Some(<$value>::PATTERN));)+
        };
    }
    texts! {
        "Email" identity::Email, "Handle" identity::Handle, "DisplayName" identity::DisplayName,
        "Sport" identity::Sport, "PlayingRole" identity::PlayingRole, "Address" identity::Address,
        "Contact" identity::Contact, "Organization" identity::Organization, "Bio" users::Bio,
        "Location" users::Location, "Locale" users::Locale, "TimeZone" users::TimeZone,
        "Caption" posts::Caption, "Category" posts::Category, "Device" posts::Device,
        "Tag" posts::Tag, "CommentText" posts::CommentText, "Reason" Reason,
    }
    text("Password", Password::MIN_CHARS, Password::MAX_CHARS, None);
    let number = |schema: &str, min: i64, max: i64| {
        let schema = &schemas[schema];
        assert_eq!(
            (schema["minimum"].as_i64(), schema["maximum"].as_i64()),
            (Some(min), Some(max))
        );
    };
    let (first, last) = (identity::BirthYear::MIN, identity::BirthYear::MAX);
    number("BirthYear", first.into(), last.into());
    let (first, last) = (
        identity::ExperienceYears::MIN,
        identity::ExperienceYears::MAX,
    );
    number("ExperienceYears", first.into(), last.into());
    for schema in ["NewPost", "PostEdit"] {
        let tags = &schemas[schema]["properties"]["tags"];
        assert_eq!(tags["maxItems"], posts::Tags::MAX_ITEMS);
    }
    for place in places(&contract).into_iter().filter(|place| place.is_sent) {
        match place.name.as_str() {
            "limit" => assert_eq!(
                place.schema["maximum"],
                limits::PAGE_ITEMS_MAX,
                "{}",
                place.at
            ),
            "cursor" => assert_eq!(
                place.schema["maxLength"],
                limits::CURSOR_BYTES_MAX,
                "{}",
                place.at
            ),
            "Idempotency-Key" => {
                assert_eq!(place.schema["maxLength"], limits::IDEMPOTENCY_KEY_CHARS_MAX);
            }
            _ => {}
        }
    }
}

/// A body that a client may send says so to the letter: nothing besides.
#[test]
fn no_request_takes_fields_that_are_not_documented() {
    let contract = Contract::generated();
    for (path, method, operation) in contract.operations() {
        let content = operation["requestBody"]["content"].as_object();
        for content in content.into_iter().flat_map(|all| all.values()) {
            let schema = contract.resolve(&content["schema"]);
            let shapes = schema["oneOf"].as_array();
            let shapes = shapes.map_or_else(|| vec![schema], |shapes| shapes.iter().collect());
            for shape in shapes {
                let shape = contract.resolve(shape);
                assert_eq!(shape["additionalProperties"], false, "{method} {path}");
            }
        }
    }
}

/// What staff need is where programs look for it.
#[test]
fn operations_name_the_permission_that_they_need() {
    let contract = Contract::generated();
    let needs = |method: &str, path: &str| {
        let all = contract.operations();
        let found = all.iter().find(|it| it.0 == path && it.1 == method);
        found.unwrap().2["security"].clone()
    };
    assert_eq!(
        needs("GET", "/v1/audit/events"),
        json!([{"access_token": ["auditor"]}])
    );
    assert_eq!(needs("GET", "/v1/feed"), json!([{"access_token": []}]));
    assert_eq!(
        needs("GET", "/v1/posts/{post_id}"),
        json!([{}, {"access_token": []}])
    );
    assert_eq!(needs("POST", "/v1/sessions"), json!([]));
}
