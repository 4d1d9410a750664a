//! What every stage trait gets: it is object safe, and `Arc<T>` and `Box<T>` are as good as `T`.

/// Forwards all methods through `Arc` and `Box`, and checks that the trait can be an object.
macro_rules! forward {
    ($trait:ident {
        $( fn $plain:ident(&self $(, $plain_arg:ident: $plain_type:ty)*) $(-> $plain_result:ty)?; )*
        $( async fn $method:ident(&self $(, $arg:ident: $type:ty)* $(,)?) $(-> $result:ty)?; )*
    }) => {
        $crate::forward!(@impl std::sync::Arc, $trait {
            $( fn $plain(&self $(, $plain_arg: $plain_type)*) $(-> $plain_result)?; )*
            $( async fn $method(&self $(, $arg: $type)*) $(-> $result)?; )*
        });
        $crate::forward!(@impl std::boxed::Box, $trait {
            $( fn $plain(&self $(, $plain_arg: $plain_type)*) $(-> $plain_result)?; )*
            $( async fn $method(&self $(, $arg: $type)*) $(-> $result)?; )*
        });
        const _: fn(&dyn $trait, std::sync::Arc<dyn $trait>, std::boxed::Box<dyn $trait>) = |_, _, _| {};
    };
    (@impl $($pointer:ident)::+, $trait:ident {
        $( fn $plain:ident(&self $(, $plain_arg:ident: $plain_type:ty)*) $(-> $plain_result:ty)?; )*
        $( async fn $method:ident(&self $(, $arg:ident: $type:ty)*) $(-> $result:ty)?; )*
    }) => {
        #[async_trait::async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: $trait + ?Sized> $trait for $($pointer)::+<T> {
            $( fn $plain(&self $(, $plain_arg: $plain_type)*) $(-> $plain_result)? {
                (**self).$plain($($plain_arg),*)
            } )*
            $( async fn $method(&self $(, $arg: $type)*) $(-> $result)? {
                (**self).$method($($arg),*).await
            } )*
        }
    };
}

pub(crate) use forward;
