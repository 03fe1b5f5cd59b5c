//! Holds what is answered against what the OpenAPI document promises.

use serde_json::Value;

/// The document, ready to be asked.
pub(crate) struct Contract(Value);

impl Contract {
    pub(crate) fn generated() -> Self {
        Self(serde_json::to_value(touchline_api::openapi_document()).unwrap())
    }

    pub(crate) fn document(&self) -> &Value {
        &self.0
    }

    /// What a schema refers to, or itself.
    pub(crate) fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(name) => &self.0["components"]["schemas"][name.rsplit('/').next().unwrap()],
            None => schema,
        }
    }

    /// The operations: path, method, and what is said of them.
    pub(crate) fn operations(&self) -> Vec<(String, String, &Value)> {
        let mut operations = Vec::new();
        for (path, item) in self.0["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                operations.push((path.clone(), method.to_uppercase(), operation));
            }
        }
        operations
    }

    /// A body that an operation takes: each field with its example, or with something of its type. None
    /// when it takes no body.
    pub(crate) fn example(&self, operation: &Value) -> Option<Value> {
        let content = operation["requestBody"]["content"].as_object()?;
        let schema = &content.values().next()?["schema"];
        let name = schema["$ref"].as_str()?.rsplit('/').next()?;
        let properties = self.0["components"]["schemas"][name]["properties"].as_object()?;
        let examples = properties.iter().map(|(name, property)| {
            let types = property["type"].to_string();
            let example = if !property["example"].is_null() {
                property["example"].clone()
            } else if types.contains("array") {
                Value::Array(Vec::new())
            } else if types.contains("integer") {
                property["minimum"].clone()
            } else if types.contains("boolean") {
                Value::Bool(false)
            } else {
                let first = property["enum"].as_array().and_then(|words| words.first());
                first.cloned().unwrap_or_else(|| Value::from("something"))
            };
            (name.clone(), example)
        });
        Some(Value::Object(examples.collect()))
    }

    /// Checks that this status is documented, and that the body has its schema.
    pub(crate) fn check(&self, method: &str, path: &str, status: u16, body: &Value) {
        let Some(operation) = self.operation(method, path) else {
            return;
        };
        let response = &operation["responses"][status.to_string()];
        assert!(
            response.is_object(),
            "{method} {path} answers {status}, which is not documented"
        );
        let Some(content) = response["content"].as_object() else {
            return;
        };
        let (kind, content) = content.iter().next().unwrap();
        if kind == "application/json" || kind.ends_with("+json") {
            self.fits(
                body,
                &content["schema"],
                &format!("{method} {path} {status}"),
            );
        }
    }

    fn operation(&self, method: &str, path: &str) -> Option<&Value> {
        let steps: Vec<_> = path.split('/').collect();
        let fits = |template: &str| {
            let known: Vec<_> = template.split('/').collect();
            known.len() == steps.len()
                && known
                    .iter()
                    .zip(&steps)
                    .all(|(known, step)| known.starts_with('{') || known == step)
        };
        let operations = self.operations();
        let found = operations
            .iter()
            .filter(|(known, verb, _)| verb == method && fits(known))
            // What is written out counts before what is a placeholder.
            .min_by_key(|(known, _, _)| known.matches('{').count())?;
        Some(found.2)
    }

    /// Whether `value` has the shape of `schema`: everything required is there, nothing is there
    /// that is not documented, and the types are right.
    fn fits(&self, value: &Value, schema: &Value, at: &str) {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap();
            return self.fits(value, &self.0["components"]["schemas"][name], at);
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            let good = choices.iter().any(|choice| {
                choice["type"] == "null" && value.is_null()
                    || choice["type"] != "null" && !value.is_null()
            });
            assert!(good, "{at}: {value} is none of {schema}");
            return;
        }
        let says_what = ["type", "allOf", "properties"];
        if says_what.iter().all(|word| schema[word].is_null()) {
            // Any JSON value.
            return;
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let good = types.is_empty() && !schema["allOf"].is_null()
            || types.iter().any(|name| is_of(value, name));
        assert!(good, "{at}: {value} is no {types:?}");
        if let Some(words) = schema["enum"].as_array() {
            assert!(
                words.contains(value) || value.is_null(),
                "{at}: {value} is none of {words:?}"
            );
        }
        if let (Some(items), Value::Array(values)) = (schema.get("items"), value) {
            for (index, item) in values.iter().enumerate() {
                self.fits(item, items, &format!("{at}/{index}"));
            }
        }
        if let Value::Object(fields) = value
            && schema["additionalProperties"] != true
        {
            let mut properties = Vec::new();
            self.properties(schema, fields, &mut properties, at);
            for (name, field) in fields {
                let property = properties.iter().find(|(known, _)| known == name);
                let (_, property) =
                    property.unwrap_or_else(|| panic!("{at}/{name} is not documented"));
                self.fits(field, property, &format!("{at}/{name}"));
            }
        }
    }

    fn properties<'a>(
        &'a self,
        schema: &'a Value,
        fields: &serde_json::Map<String, Value>,
        properties: &mut Vec<(String, &'a Value)>,
        at: &str,
    ) {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap();
            return self.properties(
                &self.0["components"]["schemas"][name],
                fields,
                properties,
                at,
            );
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.properties(part, fields, properties, at);
        }
        for required in schema["required"].as_array().into_iter().flatten() {
            let name = required.as_str().unwrap();
            assert!(fields.contains_key(name), "{at}/{name} is missing");
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            properties.push((name.clone(), property));
        }
        for choice in schema["oneOf"].as_array().into_iter().flatten() {
            for (name, property) in choice["properties"].as_object().into_iter().flatten() {
                properties.push((name.clone(), property));
            }
        }
    }
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
