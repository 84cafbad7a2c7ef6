//! JSON objects read as Go's decoder reads them: a member's name may be written in any case. Clients rely on it:
//! docker-py sends `detachKeys`. Names in maps (labels, volumes) stay as they are.

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, Error as _, IntoDeserializer, Unexpected, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::{Error, Value};

/// Reads a shape.
pub(crate) fn folded<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    T::deserialize(Folded(value))
}

/// A value whose objects' members are found whatever their case, all the way down.
struct Folded(Value);

impl<'de> IntoDeserializer<'de, Error> for Folded {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Folded {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.into_iter().map(Folded));
                let read = visitor.visit_seq(&mut items)?;
                items.end().map(|()| read)
            }
            Value::Object(members) => {
                visitor.visit_map(MapDeserializer::new(members.into_iter().map(|(k, v)| (k, Folded(v)))))
            }
            plain => plain.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let members = match self.0 {
            Value::Object(members) => members,
            // serde would read its items as an object's members in order.
            Value::Array(_) => return Err(Error::invalid_type(Unexpected::Seq, &visitor)),
            plain => return plain.deserialize_any(visitor),
        };
        let mut known = serde_json::Map::new();
        for (name, value) in &members {
            let field = fields.iter().find(|f| f.eq_ignore_ascii_case(name));
            // Who writes a name in two ways means the exact one.
            if let Some(field) = field.filter(|f| *f == name || !members.contains_key(**f)) {
                known.insert((*field).to_owned(), value.clone());
            }
        }
        Folded(Value::Object(known)).deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    crate::wire::wire! {
        struct Inner {
            port: u16,
        }
    }

    crate::wire::wire! {
        struct Outer {
            detach_keys: String,
            labels: crate::wire::Map,
            @flatten inner: Inner,
            list: Vec<Inner>,
        }
    }

    #[test]
    fn a_members_name_may_have_any_case() {
        let body = json!({
            "detachKeys": "ctrl-p", "LABELS": {"Some": "a", "some": "b"}, "pORT": 7, "list": [{"port": 8}, null],
            "unknown": {"Port": "x"},
        });
        let error = folded::<Outer>(body.clone()).expect_err("null is no object").to_string();
        assert!(error.contains("null"), "{error}");
        let mut body = body;
        body["list"] = json!([{"port": 8}]);
        let outer: Outer = folded(body).expect("a shape");
        assert_eq!((outer.detach_keys.as_str(), outer.inner.port, outer.list[0].port), ("ctrl-p", 7, 8));
        assert_eq!(outer.labels.0.len(), 2, "a map's names are the user's");
    }

    #[test]
    fn the_exact_name_wins_over_another_case() {
        let inner: Inner = folded(json!({"port": 1, "Port": 2, "PORT": 3})).expect("a shape");
        assert_eq!(inner.port, 2);
    }

    #[test]
    fn a_wrong_type_is_told_as_before() {
        let error = folded::<Outer>(json!({"list": [{"port": "x"}]})).expect_err("wrong").to_string();
        assert_eq!(error, "invalid type: string \"x\", expected u16");
    }
}
