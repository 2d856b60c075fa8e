"""n8n's tables: which must never be lost, which its migrations drop, and which are its own. Data, looked up by name.

Read in the migrations and entities of @n8n/db 0.11.0, 0.34.52 and 1.41.1, that is of n8n 1.100.1, 1.123.81 and 2.41.1.
What is not here is the user's: people keep chat histories, vectors and tables of their own beside n8n's.
"""

from __future__ import annotations

from typing import Final

SCHEMA: Final = "public"

_KEPT: Final = """
    workflow_entity workflow_history workflow_published_version shared_workflow folder tag_entity workflows_tags
    folder_tag credentials_entity shared_credentials user project project_relation role scope user_api_keys
    auth_identity settings variables webhook_entity installed_packages installed_nodes data_table binary_data
    deployment_key secrets_provider_connection migrations
"""
KEPT: Final = frozenset(_KEPT.split())
"""Tables that must never be lost; rows by their id where they have one."""

DATA_TABLE: Final = "data_table_user_"
"""What the name of each data table of a user begins with."""

PRUNED: Final = frozenset({"workflow_history", "binary_data"})
"""Kept tables whose rows n8n itself removes by age: that none is left need not be a loss."""

_DROPPED: Final = """
    agent_published_version agents_memory_entry_cursors analytics_by_period analytics_metadata analytics_raw
    credential_usage data_store data_store_column execution_metadata_temp git_connection git_connection_https_auth
    git_connection_project git_connection_ssh_auth instance_ai_run_snapshots role test_case_execution test_definition
    test_metric test_run
"""
DROPPED: Final = frozenset(_DROPPED.split())
"""Tables that a migration drops (some come again, empty or in another form)."""

_OTHERS: Final = """
    activity_event activity_event_project activity_event_user agent_background_job agent_channel_status
    agent_chat_attachments agent_chat_subscriptions agent_checkpoints agent_credential_dependency
    agent_eval_dataset agent_eval_rating agent_eval_result agent_eval_run agent_execution agent_execution_stored
    agent_execution_threads agent_files agent_history agent_task_definition agent_task_run_lock
    agent_task_snapshot agent_workflow_dependency agents agents_memory_entries agents_memory_entry_candidates
    agents_memory_entry_locks agents_memory_entry_sources agents_messages agents_observation_cursors
    agents_observation_locks agents_observations agents_resources agents_threads ai_builder_temporary_workflow
    ai_preference ai_preference_single_target annotation_tag_entity auth_provider_sync_history
    chat_hub_agent_tools chat_hub_agents chat_hub_messages chat_hub_session_tools chat_hub_sessions
    chat_hub_tools credential_dependency data_table_column dynamic_credential_entry
    dynamic_credential_resolver dynamic_credential_user_entry evaluation_collection evaluation_config
    event_destinations execution_annotation_tags execution_annotations execution_data execution_entity
    execution_metadata insights_by_period insights_metadata insights_raw instance_ai_checkpoints
    instance_ai_events instance_ai_iteration_logs instance_ai_mcp_registry_connections instance_ai_messages
    instance_ai_observation_cursors instance_ai_observation_locks instance_ai_observational_memory
    instance_ai_observations instance_ai_pending_confirmations instance_ai_resources
    instance_ai_thread_grants instance_ai_threads instance_ai_workflow_snapshots
    instance_credential_assignment instance_monitoring_report instance_version_history invalid_auth_token
    mcp_registry_server oauth_access_tokens oauth_authorization_codes oauth_clients oauth_refresh_tokens
    oauth_user_consents poller_state processed_data project_pool_settings project_secrets_provider_access
    promotion_config promotion_config_connection promotion_connection promotion_connection_project
    promotion_provider role_mapping_rule role_mapping_rule_project role_scope scheduled_job scheduled_task
    token_exchange_jti trusted_key trusted_key_source type_availability_policy
    type_availability_policy_attachment type_availability_policy_scope user_favorites
    workflow_builder_session workflow_dependency workflow_publication_outbox
    workflow_publication_trigger_status workflow_publish_history workflow_review_activity
    workflow_review_activity_comment workflow_review_request workflow_review_request_authors
    workflow_review_request_reviewers workflow_review_request_workflow workflow_statistics
    workflow_statistics_delta
"""
OWN: Final = KEPT | DROPPED | frozenset(_OTHERS.split())
"""All that n8n makes for itself."""
