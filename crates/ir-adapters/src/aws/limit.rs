//! A limit on the size of every answer, since the SDK reads them into memory whole.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use http_body_util::Limited;

/// The largest answers that AWS documents for the calls made here are 1 MB (log events) and about 3 MB (a full page of
/// metric data); this is far above.
const MAX_BYTES: usize = 32 << 20;

/// Fails answers that are larger than 32 MiB while they come.
#[derive(Debug, Clone, Copy)]
pub(super) struct SizeLimit;

impl Intercept for SizeLimit {
    fn name(&self) -> &'static str {
        "SizeLimit"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _runtime_components: &RuntimeComponents,
        _cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        let body = std::mem::replace(response.body_mut(), SdkBody::taken());
        *response.body_mut() = SdkBody::from_body_1_x(Limited::new(body, MAX_BYTES));
        Ok(())
    }
}
