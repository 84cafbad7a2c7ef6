//! The flat encoding of plans: little-endian numbers, length-prefixed bytes and lists, nothing skipped.
//!
//! Never: JSON, a schema that reflects on itself. Both ends are of one release for plans; the version in front
//! of a plan refuses any other.

/// Why bytes are no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// It ends before its last field.
    Short,
    /// Bytes follow its last field.
    Long,
    /// A field holds what its type cannot.
    Value,
    /// Another release's plan.
    Version(u32),
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WireError::Short => f.write_str("a start plan is cut short"),
            WireError::Long => f.write_str("a start plan has bytes after its end"),
            WireError::Value => f.write_str("a start plan holds an impossible value"),
            WireError::Version(v) => write!(f, "a start plan has the unknown version {v}"),
        }
    }
}

impl std::error::Error for WireError {}

/// What can be laid flat.
pub trait Wire: Sized {
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes it off the front of `from`.
    fn take(from: &mut &[u8]) -> Result<Self, WireError>;
}

/// Takes `n` bytes off the front.
fn bytes<'a>(from: &mut &'a [u8], n: usize) -> Result<&'a [u8], WireError> {
    let (head, tail) = from.split_at_checked(n).ok_or(WireError::Short)?;
    *from = tail;
    Ok(head)
}

macro_rules! numbers {
    ($($t:ty),*) => {$(
        impl Wire for $t {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn take(from: &mut &[u8]) -> Result<Self, WireError> {
                let head = bytes(from, size_of::<$t>())?;
                head.try_into().map(<$t>::from_le_bytes).map_err(|_| WireError::Short)
            }
        }
    )*};
}

numbers!(u8, u16, u32, u64, i32, i64);

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn take(from: &mut &[u8]) -> Result<Self, WireError> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Value),
        }
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u32).put(out);
        out.extend_from_slice(self.as_bytes());
    }
    fn take(from: &mut &[u8]) -> Result<Self, WireError> {
        let n = u32::take(from)? as usize;
        let head = bytes(from, n)?;
        String::from_utf8(head.to_vec()).map_err(|_| WireError::Value)
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u32).put(out);
        for item in self {
            item.put(out);
        }
    }
    fn take(from: &mut &[u8]) -> Result<Self, WireError> {
        let n = u32::take(from)? as usize;
        // Every item takes a byte at least: a false length cannot reserve memory.
        if n > from.len() {
            return Err(WireError::Short);
        }
        let mut items = Vec::new();
        for _ in 0..n {
            items.push(T::take(from)?);
        }
        Ok(items)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn take(from: &mut &[u8]) -> Result<Self, WireError> {
        Ok(if bool::take(from)? { Some(T::take(from)?) } else { None })
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn take(from: &mut &[u8]) -> Result<Self, WireError> {
        Ok((A::take(from)?, B::take(from)?))
    }
}

/// Declares a struct and lays its fields flat in their order.
#[macro_export]
macro_rules! flat {
    ($(#[$m:meta])* pub struct $name:ident { $($(#[$fm:meta])* pub $field:ident: $t:ty,)* }) => {
        $(#[$m])*
        pub struct $name { $($(#[$fm])* pub $field: $t,)* }
        impl $crate::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $($crate::wire::Wire::put(&self.$field, out);)*
            }
            fn take(from: &mut &[u8]) -> Result<Self, $crate::wire::WireError> {
                Ok(Self { $($field: $crate::wire::Wire::take(from)?,)* })
            }
        }
    };
    ($(#[$m:meta])* pub enum $name:ident { $($(#[$vm:meta])* $variant:ident $({ $($(#[$fm:meta])* $field:ident: $t:ty,)* })? = $tag:literal,)* }) => {
        $(#[$m])*
        pub enum $name { $($(#[$vm])* $variant $({ $($(#[$fm])* $field: $t,)* })?,)* }
        impl $crate::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $({ $($field,)* })? => {
                        out.push($tag);
                        $($($crate::wire::Wire::put($field, out);)*)?
                    })*
                }
            }
            fn take(from: &mut &[u8]) -> Result<Self, $crate::wire::WireError> {
                match <u8 as $crate::wire::Wire>::take(from)? {
                    $($tag => Ok(Self::$variant $({ $($field: $crate::wire::Wire::take(from)?,)* })?),)*
                    _ => Err($crate::wire::WireError::Value),
                }
            }
        }
    };
}
