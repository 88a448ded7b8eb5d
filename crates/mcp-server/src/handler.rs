//! The MCP server: lists the tools that a caller may use and calls them.

use forgeline_auth::{Caller, Need, Scope};
use forgeline_provision::Provisioner;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestMethod,
    CompleteRequestParams, CompleteResult, ContentBlock, Implementation, ListPromptsRequestMethod,
    ListPromptsResult, ListResourceTemplatesRequestMethod, ListResourceTemplatesResult,
    ListResourcesRequestMethod, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};

use crate::access::{Access, Asked};
use crate::tools::{self, Answer, Offer, Use};

/// The MCP server over one provisioner. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    provisioner: Provisioner,
    offers: std::sync::Arc<Vec<Offer>>,
    access: Access,
    /// Who calls where the transport does not say: over stdio.
    local: Option<Caller>,
}

impl Server {
    /// A server for HTTP, where the gate says who calls.
    pub fn new(provisioner: Provisioner, access: Access) -> Self {
        let offers = std::sync::Arc::new(tools::all(&provisioner));
        Self {
            provisioner,
            offers,
            access,
            local: None,
        }
    }

    /// A server for stdio, where everybody is this caller.
    #[must_use]
    pub fn for_local(mut self, caller: Caller) -> Self {
        self.local = Some(caller);
        self
    }

    /// The scope that each call needs, for the gate.
    pub(crate) fn need(&self) -> Need {
        let offers = std::sync::Arc::clone(&self.offers);
        std::sync::Arc::new(move |tool, given| tools::need(&offers, tool, given))
    }

    /// The tools of this server and the scopes that they need, for policies.
    pub fn tools(provisioner: &Provisioner) -> Vec<(String, Scope)> {
        let offers = tools::all(provisioner);
        let named = offers
            .iter()
            .map(|offer| (offer.tool.name.to_string(), offer.scope));
        named.collect()
    }

    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    pub(crate) fn provisioner(&self) -> &Provisioner {
        &self.provisioner
    }

    fn offer(&self, name: &str) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.tool.name == name)
    }

    fn caller(&self, context: &RequestContext<RoleServer>) -> Result<Caller, ErrorData> {
        let parts = context.extensions.get::<axum::http::request::Parts>();
        let caller = parts
            .and_then(|parts| parts.extensions.get::<Caller>())
            .or(self.local.as_ref());
        match caller {
            Some(caller) if self.access.read_only => Ok(caller.clone().read_only()),
            Some(caller) => Ok(caller.clone()),
            None => Err(ErrorData::internal_error("nobody said who calls", None)),
        }
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let me =
            Implementation::new("forgeline", env!("CARGO_PKG_VERSION")).with_title("forgeline");
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build()).with_server_info(me).with_instructions(
            "Provisions software projects. project_create makes all artifacts of a project in one call and is safe to repeat; \
             when it answers `running`, call project_status with the run_id until the state is final.",
        )
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let caller = self.caller(&context)?;
        let offered = self.offers.iter().filter_map(|offer| offer.to(&caller));
        Ok(ListToolsResult::with_all_items(
            offered.map(|offered| offered.tool().clone()).collect(),
        ))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.offer(name).map(|offer| offer.tool.clone())
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let caller = self.caller(&context)?;
        let known = self.offer(&call.name);
        let given = call.arguments.clone().unwrap_or_default();
        let only_looks = known.is_some_and(|offer| (offer.only_looks)(&given));
        let refusal = match known.and_then(|offer| offer.to(&caller)) {
            Some(Use::Call(_)) => None,
            Some(Use::Plan(_)) if only_looks => None,
            Some(Use::Plan(tool)) => Some(format!(
                "this caller may only plan with {}: call it with dry_run true, or without plan_id",
                tool.name
            )),
            // What a caller may not use is not there for that caller.
            None => Some(format!("unknown tool: {}", call.name)),
        };
        let asked = Asked {
            caller: &caller,
            tool: &call.name,
            given: &given,
            needed: tools::need(&self.offers, &call.name, &given),
            is_workflow: self.provisioner.catalogue().get(&call.name).is_some(),
        };
        if let Some(refusal) = refusal {
            self.access.refused(&asked, &refusal);
            return Err(ErrorData::invalid_params(refusal, None));
        }
        if let Err(error) = self.access.admit(&self.provisioner, &asked).await {
            self.access.refused(&asked, &error.code);
            return Ok(result(tools::refused(self, &call.name, error)).into());
        }
        let announced = match self.access.announce(&asked).await {
            Ok(announced) => announced,
            Err(error) => return Ok(result(tools::refused(self, &call.name, error)).into()),
        };
        let arguments = call.arguments.unwrap_or_default();
        let (server, name) = (self.clone(), call.name.into_owned());
        // A task of its own: rmcp sends no answer for a handler that panics, and drops one whose client goes away.
        let answer = tokio::spawn(async move {
            let answer = tools::call(&server, &name, arguments, &caller, &context).await;
            if let Some(announced) = announced {
                server.access.ended(announced, answer.failed).await;
            }
            answer
        });
        let answer = answer.await.map_err(|_| {
            ErrorData::internal_error("the call failed inside the server; see its log", None)
        })?;
        Ok(result(answer).into())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListPromptsRequestMethod>())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListResourcesRequestMethod>())
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Err(ErrorData::method_not_found::<
            ListResourceTemplatesRequestMethod,
        >())
    }

    async fn complete(
        &self,
        _: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        Err(ErrorData::method_not_found::<CompleteRequestMethod>())
    }
}

/// Structured content and a short text; a domain failure is the same object with `isError`.
fn result(answer: Answer) -> CallToolResult {
    let mut result = if answer.failed {
        CallToolResult::structured_error(answer.value)
    } else {
        CallToolResult::structured(answer.value)
    };
    result.content = vec![ContentBlock::text(answer.text)];
    result
}
