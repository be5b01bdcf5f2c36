//! Setters that chain: one for each field that an application sets.

/// Writes a setter for each field: `value` takes the field's type, `into` what becomes it, `some` what becomes the value of
/// an `Option`, and `list` what a list can be made of.
macro_rules! setters {
    ($($kind:ident $field:ident: $of:ty;)*) => {
        $(setters!(@$kind $field $of);)*
    };
    (@value $field:ident $of:ty) => {
        setters!(@setter $field [value: $of] value);
    };
    (@into $field:ident $of:ty) => {
        setters!(@setter $field [value: impl Into<$of>] value.into());
    };
    (@some $field:ident $of:ty) => {
        setters!(@setter $field [value: impl Into<$of>] Some(value.into()));
    };
    (@list $field:ident $of:ty) => {
        setters!(
            @setter $field [values: impl IntoIterator<Item = impl Into<$of>>]
            values.into_iter().map(Into::into).collect()
        );
    };
    (@setter $field:ident [$value:ident: $of:ty] $to:expr) => {
        #[doc = concat!("Sets [`", stringify!($field), "`](#structfield.", stringify!($field), ").")]
        #[must_use]
        pub fn $field(mut self, $value: $of) -> Self {
            self.$field = $to;
            self
        }
    };
}

pub(super) use setters;
