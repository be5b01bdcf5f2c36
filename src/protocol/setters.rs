//! Setters that chain: one for each field that an application sets.

/// Writes a setter for each field: `value` takes the field's type, `into` what becomes it, `some` what becomes the value of
/// an `Option` (`number` takes no other type than that), and `list` what a list can be made of; `add` and `push` add one to a list;
/// `with` has its own type parameters, and sets what an expression makes of its argument, such as a function; `set` takes
/// nothing and sets this value. The method may have another name than the field, which then stands after `to`.
macro_rules! setters {
    (
        $($kind:ident $($name:ident),+: $of:tt;)*
        $($(#[$doc:meta])+ $one:ident $method:ident $(to $($field:ident).+)?: $to:tt;)*
    ) => {
        $($(setters!(@$kind [] $name [] $of);)+)*
        $(setters!(@$one [$(#[$doc])+] $method [$($($field).+)?] $to);)*
    };
    (@$kind:ident [] $name:ident [] $of:tt) => {
        setters!(
            @$kind [#[doc = concat!("Sets [`", stringify!($name), "`](#structfield.", stringify!($name), ").")]]
            $name [$name] $of
        );
    };
    (@$kind:ident [$($doc:tt)+] $name:ident [] $of:tt) => {
        setters!(@$kind [$($doc)+] $name [$name] $of);
    };
    (@value $doc:tt $name:ident [$($field:tt)+] $of:tt) => {
        setters!(@method $doc $name (value: $of) |it| it.$($field)+ = value);
    };
    (@into $doc:tt $name:ident [$($field:tt)+] $of:tt) => {
        setters!(@method $doc $name (value: impl Into<$of>) |it| it.$($field)+ = value.into());
    };
    (@some $doc:tt $name:ident [$($field:tt)+] $of:tt) => {
        setters!(@method $doc $name (value: impl Into<$of>) |it| it.$($field)+ = Some(value.into()));
    };
    (@number $doc:tt $name:ident [$($field:tt)+] $of:tt) => {
        setters!(@method $doc $name (value: $of) |it| it.$($field)+ = Some(value));
    };
    (@list $doc:tt $name:ident [$($field:tt)+] $of:tt) => {
        setters!(
            @method $doc $name (values: impl IntoIterator<Item = impl Into<$of>>)
            |it| it.$($field)+ = values.into_iter().map(Into::into).collect()
        );
    };
    (@add $doc:tt $name:ident [$($field:tt)+] $of:tt) => {
        setters!(@method $doc $name (one: $of) |it| it.$($field)+.push(one));
    };
    (@push $doc:tt $name:ident [$($field:tt)+] $of:tt) => {
        setters!(@method $doc $name (one: impl Into<$of>) |it| it.$($field)+.push(one.into()));
    };
    (@with $doc:tt $name:ident [$($field:tt)+] ([$($generics:tt)*] $hook:ident: $of:ty => $wrapped:expr)) => {
        setters!(@method $doc $name [$($generics)*] ($hook: $of) |it| it.$($field)+ = Some(std::sync::Arc::new($wrapped)));
    };
    (@set $doc:tt $name:ident [$($field:tt)+] $of:tt) => {
        setters!(@method $doc $name () |it| it.$($field)+ = $of);
    };
    (
        @method [$(#[$doc:meta])*] $name:ident $([$($generics:tt)*])? ($($value:ident: $of:ty)?)
        |$it:ident| $change:expr
    ) => {
        $(#[$doc])*
        #[must_use]
        pub fn $name $(<$($generics)*>)? (mut self $(, $value: $of)?) -> Self {
            let $it = &mut self;
            $change;
            self
        }
    };
}

pub(crate) use setters;
