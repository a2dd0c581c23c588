<#
.SYNOPSIS
    The name of this host and whether it answers as a Hyper-V host.
.DESCRIPTION
    Input: { settings }. Output: { name, services }.
    Source: hyperv.md 1.2 and 1.3 (the service classes), 0.6 (collections need a failover cluster).
#>
#requires -Version 5.1
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)] [ValidatePattern('^[A-Za-z0-9+/]+=*$')] [string] $Payload,
    [Parameter(Mandatory = $true)] [ValidatePattern('^[0-9a-f]+$')] [string] $Call
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Protocol.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Wmi.psm1'))

Invoke-GcbVerb -Payload $Payload -Call $Call -Body {
    param([pscustomobject] $Request)
    $service = Get-GcbService -Namespace $Request.settings.namespace -ClassName Msvm_VirtualSystemSnapshotService
    [ordered]@{
        name    = [System.Environment]::MachineName
        service = [string]$service.Name
    }
}
