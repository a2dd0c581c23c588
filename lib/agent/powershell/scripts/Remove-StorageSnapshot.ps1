<#
.SYNOPSIS
    Removes shadow copies, their mount points and the record of a storage snapshot.
.DESCRIPTION
    Input: { settings, tag, shadowIds, scriptText, timeoutMs }. Output: { live }. Gone already is fine.
    scriptText ("" = none) unexposes and deletes through diskshadow; what is still there afterwards is deleted as an instance.
    Source: hyperv.md 2.3 (unexpose, delete shadows id; "Delete the instance to drop the shadow").
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
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.State.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.HyperV.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Storage.psm1'))

Invoke-GcbVerb -Payload $Payload -Call $Call -Body {
    param([pscustomobject] $Request)
    $state = $Request.settings.stateDirectory
    $folder = Get-GcbStateFolder -StateDirectory $state -Kind 'storage-snapshots'
    $base = [System.IO.Path]::Combine($folder, (ConvertTo-GcbFileName -Tag $Request.tag))
    $wanted = @($Request.shadowIds)
    $failure = $null
    if ([string]$Request.scriptText -ne '' -and @(Get-GcbLiveShadow | Where-Object -FilterScript { $wanted -contains $_.id }).Count -gt 0) {
        try { [void](Invoke-GcbDiskShadow -ScriptText $Request.scriptText -BasePath ($base + '.remove') -Subject $Request.tag -TimeoutMs ([int]$Request.timeoutMs)) }
        catch { $failure = $_ }
    }
    foreach ($shadow in @(Get-CimInstance -Namespace 'root/cimv2' -ClassName Win32_ShadowCopy)) {
        if ($wanted -contains (ConvertTo-GcbGuid -Text ([string]$shadow.ID))) { Remove-CimInstance -InputObject $shadow }
    }
    $left = @(Get-GcbLiveShadow | Where-Object -FilterScript { $wanted -contains $_.id })
    if ($left.Count -gt 0) {
        if ($null -ne $failure) { throw $failure }
        Stop-GcbVerb -Code 'HV_UNDO_FAILED' -Subject $Request.tag -Message "$($left.Count) shadow copies of $($Request.tag) are still there after their removal." -Remedy 'Remove them with diskshadow: delete shadows id {id}.'
    }
    foreach ($record in @(Get-GcbRecord -StateDirectory $state -Kind 'storage-snapshots' | Where-Object -FilterScript { $_.tag -eq $Request.tag })) {
        foreach ($volume in @($record.volumes)) {
            # Only an empty folder is removed: Delete without recursion fails on a mount point that is still in use.
            if ([string]$volume.mountPoint -ne '' -and [System.IO.Directory]::Exists($volume.mountPoint)) { [System.IO.Directory]::Delete($volume.mountPoint) }
        }
    }
    foreach ($suffix in @('.dsh', '.out', '.cab', '.expose.dsh', '.expose.out', '.remove.dsh', '.remove.out')) { [System.IO.File]::Delete($base + $suffix) }
    Remove-GcbRecord -StateDirectory $state -Kind 'storage-snapshots' -Tag $Request.tag
    [ordered]@{ live = @(Get-GcbLiveShadow) }
}
